package reset

import "time"

// The tickets of all starts live equally long after the lease of their jobs, whether or not the account exists (SECURITY.md 2).
const (
	// StartGrid is what that life is rounded up to, so that it shows no single account.
	StartGrid = 250 * time.Millisecond
	// LongestStart bounds that life. In a longer outage the tickets are DONE before their mails have left: DONE promises no mail.
	LongestStart = time.Hour
)

// StartLife returns how long after the lease of a start job its tickets become DONE, if the look-up and the mails of its lane take so
// long: at most LongestStart, on the grid.
func StartLife(estimate time.Duration) time.Duration {
	return OnStartGrid(min(estimate, LongestStart))
}

// OnStartGrid rounds up to a multiple of StartGrid, at least one.
func OnStartGrid(d time.Duration) time.Duration {
	return (max(d, 1) + StartGrid - 1) / StartGrid * StartGrid
}
