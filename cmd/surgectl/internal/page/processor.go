package page

import (
	"strings"
	"time"

	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// processor tells how much processor time surgegate's own process gets.
func (s Style) processor(p *operatorv1.ProcessStatus, now time.Time) string {
	parts := []string{humanize.Number(p.GetCpuUsed()) + " of " + humanize.Number(p.GetCpuLimit()) + " used"}
	if p.GetThrottledShare() > 0 {
		parts = append(parts, "held back by its quota "+humanize.Share(p.GetThrottledShare())+" of the time")
	}
	parts = append(parts, "waits "+humanize.Duration(p.GetSchedulingDelay().AsDuration())+" for one")
	if p.GetCpuStarved() {
		since := humanize.Duration(now.Sub(p.GetCpuStarvedSince().AsTime()))
		parts = append(parts, s.of(screen.Red, "SHORT OF PROCESSOR TIME for "+since+": do not trust its times of others"))
	}
	return strings.Join(parts, ", ")
}
