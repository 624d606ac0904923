package page

import (
	"strings"
	"time"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	"github.com/surgegate/surgegate/pkg/screen"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// processor tells how much processor time surgegate's own process gets.
func (s Style) processor(p *operatorv1.ProcessStatus, now time.Time) string {
	parts := []string{figures.Number(p.GetCpuUsed()) + " of " + figures.Number(p.GetCpuLimit()) + " used"}
	if p.GetThrottledShare() > 0 {
		parts = append(parts, "held back by its quota "+figures.Share(p.GetThrottledShare())+" of the time")
	}
	parts = append(parts, "waits "+figures.Duration(p.GetSchedulingDelay().AsDuration())+" for one")
	if p.GetCpuStarved() {
		since := figures.Duration(now.Sub(p.GetCpuStarvedSince().AsTime()))
		parts = append(parts, s.of(screen.Red, "SHORT OF PROCESSOR TIME for "+since+": do not trust its times of others"))
	}
	return strings.Join(parts, ", ")
}
