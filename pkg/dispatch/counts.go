package dispatch

import "github.com/surgegate/surgegate/pkg/dispatch/internal/downstream"

// Counts are what a downstream's calls have added up to since the start.
type Counts = downstream.Counts

// KindCounts are the calls of one kind.
type KindCounts = downstream.KindCounts

// Calls are calls that ended well.
type Calls = downstream.Calls
