package gate

import "context"

// Refresh reads the view now, as the gate does every 500 ms.
func (g *Gate) Refresh(ctx context.Context) error { return g.refresh(ctx) }
