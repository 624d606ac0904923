//go:build !race

package admission_test

const memoryClients = 1 << 20
