// Package control is the client of a victim's control endpoint: it looks at the store, and does faults to it.
package control
