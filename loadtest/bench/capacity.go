package bench

import (
	"context"

	"github.com/surgegate/surgegate/loadtest/capacity"
)

// capacity runs the whole program against stores that fall over; capacity.json and capacity.html have the details.
func (s *suite) capacity(ctx context.Context) ([]Row, error) {
	figures, err := capacity.Run(ctx, capacity.Options{
		Out: s.Out, Surgegate: s.Surgegate, Self: s.Self, Parts: s.CapacityParts, Models: s.CapacityModels, Output: s.Output, Clock: s.Clock,
	})
	var rows []Row
	for _, f := range figures {
		rows = append(rows, Row(f))
	}
	return rows, err
}
