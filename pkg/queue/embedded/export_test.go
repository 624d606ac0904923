package embedded

// ShortMemory makes generations of written keys so short that every test passes through many.
func (c Config) ShortMemory() Config {
	c.recentKeys = 4
	return c
}
