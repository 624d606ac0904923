package grpcstore

// Private tells whether a connection may carry plaintext passwords.
func Private(c Config) bool { return c.private() }
