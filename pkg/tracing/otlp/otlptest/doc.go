// Package otlptest is a real OTLP collector for tests: it listens on loopback and keeps what it is sent.
package otlptest
