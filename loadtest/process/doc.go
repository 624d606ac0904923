// Package process starts servers as processes of their own for a measurement, waits until they listen, and stops them by
// their id. A process's output is kept, so that a failed start can say why.
package process
