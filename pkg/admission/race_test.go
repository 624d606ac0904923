//go:build race

package admission_test

// The race detector makes a million clients cost half a minute; the bound a key is the same for fewer.
const memoryClients = 1 << 16
