// Package postgrestest runs real PostgreSQL servers for tests and load tests, each with its own data in a temporary
// folder and its own port on loopback, and kills them the way that machines do.
//
// PostgreSQL refuses to run as root. A test that is root runs it as the user postgres, or nobody; any other runs it as
// itself. initdb is looked for in PATH and where Debian puts it. Durability is off unless Config.Durable: a killed
// process loses nothing that it has written to a file, only a power cut would, and no test here cuts the power.
//
// A server ends with Close, and with the process that started it, however that ends; its folder goes with Close only.
package postgrestest
