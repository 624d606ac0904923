package embedded

// ShortMemory makes generations of written keys so short that every test passes through many.
func (c Config) ShortMemory() Config {
	c.memtableFilterKeys = 4
	return c
}
