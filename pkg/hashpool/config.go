package hashpool

import (
	"fmt"
	"runtime"
)

// Caps on hashes that come from outside (SECURITY.md 15).
const (
	maxArgonKiB         = 256 << 10
	maxArgonTime        = 10
	maxArgonParallelism = 16
	maxBcryptCost       = 15
)

// argonFloors are those of OWASP's Password Storage cheat sheet. Parameters that reach one row are enough.
var argonFloors = [...]struct{ kib, time uint32 }{
	{47104, 1}, {19456, 2}, {12288, 3}, {9216, 4}, {7168, 5},
}

const minBcryptCost = 10

// Config says how hashes are made and what they may use. Zero fields mean the defaults.
type Config struct {
	// Slots is how many hashes are computed at once. Default and most: max(1, processors − 1), so that one processor is left to answer
	// people.
	Slots int
	// MemoryBytes bounds the argon2 memory in use at once. A hash to be verified that needs more is refused. Default 256 MiB, or what Slots
	// new hashes need if that is more.
	MemoryBytes int64
	// ArgonKiB, ArgonTime and ArgonParallelism are argon2id's m, t and p. Defaults 19456, 2, 1.
	ArgonKiB         uint32
	ArgonTime        uint32
	ArgonParallelism uint8
	// BcryptCost is log2 of bcrypt's rounds: 10 to 15. Default 10.
	BcryptCost int
}

// WithDefaults returns the config with zero fields replaced by their defaults.
func (c Config) WithDefaults() Config {
	if c.Slots == 0 {
		c.Slots = maxSlots()
	}
	if c.ArgonKiB == 0 {
		c.ArgonKiB = 19456
	}
	if c.ArgonTime == 0 {
		c.ArgonTime = 2
	}
	if c.ArgonParallelism == 0 {
		c.ArgonParallelism = 1
	}
	if c.BcryptCost == 0 {
		c.BcryptCost = minBcryptCost
	}
	if c.MemoryBytes == 0 {
		c.MemoryBytes = max(maxArgonKiB<<10, int64(c.Slots)*int64(c.ArgonKiB)<<10)
	}
	return c
}

// Validate names the first field that cannot work.
func (c Config) Validate() error {
	c = c.WithDefaults()
	switch {
	case c.Slots < 1 || c.Slots > maxSlots():
		return fmt.Errorf("hashpool: Slots is %d, want 1 to %d (processors − 1) on this machine", c.Slots, maxSlots())
	case c.ArgonTime > maxArgonTime:
		return fmt.Errorf("hashpool: ArgonTime is %d, want at most %d", c.ArgonTime, maxArgonTime)
	case c.ArgonParallelism > maxArgonParallelism:
		return fmt.Errorf("hashpool: ArgonParallelism is %d, want at most %d", c.ArgonParallelism, maxArgonParallelism)
	case c.ArgonKiB > maxArgonKiB:
		return fmt.Errorf("hashpool: ArgonKiB is %d, want at most %d", c.ArgonKiB, maxArgonKiB)
	case int64(c.ArgonKiB)<<10 > c.MemoryBytes:
		return fmt.Errorf("hashpool: MemoryBytes is %d, too little for one hash of %d KiB", c.MemoryBytes, c.ArgonKiB)
	case c.BcryptCost < minBcryptCost || c.BcryptCost > maxBcryptCost:
		return fmt.Errorf("hashpool: BcryptCost is %d, want %d to %d", c.BcryptCost, minBcryptCost, maxBcryptCost)
	}
	for _, floor := range argonFloors {
		if c.ArgonKiB >= floor.kib && c.ArgonTime >= floor.time {
			return nil
		}
	}
	return fmt.Errorf("hashpool: ArgonKiB %d with ArgonTime %d is below OWASP's floors: 47104 with 1, 19456 with 2, 12288 with 3, 9216 with 4 or 7168 with 5",
		c.ArgonKiB, c.ArgonTime)
}

// maxSlots returns the largest number of slots. It counts with GOMAXPROCS, which unlike NumCPU knows the limit of a container.
func maxSlots() int { return max(1, runtime.GOMAXPROCS(0)-1) }
