package top

import (
	"strings"
	"time"

	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// historyPoints is an hour at a status a second, at a few KB each.
const historyPoints = 3600

// history is what was seen since the view was opened. The zero value is empty.
type history struct {
	points []*operatorv1.GetStatusResponse
}

func (h *history) add(s *operatorv1.GetStatusResponse) {
	if len(h.points) == historyPoints {
		h.points = append(h.points[:0], h.points[1:]...)
	}
	h.points = append(h.points, s)
}

func (h *history) since() time.Time {
	if len(h.points) == 0 {
		return time.Time{}
	}
	return h.points[0].GetTime().AsTime()
}

// series is one figure over the time.
type series struct {
	name   string
	values []float64
	text   func(float64) string
}

func (s series) bounds() (least, most float64) {
	least = s.values[0]
	for _, v := range s.values {
		least, most = min(least, v), max(most, v)
	}
	return least, most
}

func (h *history) of(value func(*operatorv1.GetStatusResponse) float64) []float64 {
	values := make([]float64, len(h.points))
	for i, p := range h.points {
		values[i] = value(p)
	}
	return values
}

// lanes are the jobs waiting in each.
func (h *history) lanes(lanes []*operatorv1.LaneStatus) [][]float64 {
	var all [][]float64
	for _, l := range lanes {
		all = append(all, h.of(func(s *operatorv1.GetStatusResponse) float64 { return float64(lane(s, l.GetLane()).GetWaiting()) }))
	}
	return all
}

// downstreams are the items delivered by each.
func (h *history) downstreams(downstreams []*operatorv1.DownstreamStatus) [][]float64 {
	var all [][]float64
	for _, d := range downstreams {
		all = append(all, h.of(func(s *operatorv1.GetStatusResponse) float64 { return downstream(s, d.GetDownstream()).GetItemRate() }))
	}
	return all
}

// all are the figures of the history's own page.
func (h *history) all(shown *operatorv1.GetStatusResponse) []series {
	count := func(v float64) string { return humanize.Count(uint64(max(0, v))) }
	seconds := func(v float64) string { return humanize.Duration(time.Duration(v * float64(time.Second))) }
	list := []series{
		{"offered/s", h.of(func(s *operatorv1.GetStatusResponse) float64 { return s.GetAdmission().GetOffered() }), humanize.Number},
		{"refused/s", h.of(func(s *operatorv1.GetStatusResponse) float64 {
			a := s.GetAdmission()
			return a.GetLimited() + a.GetShed() + a.GetRefused()
		}), humanize.Number},
		{"level", h.of(func(s *operatorv1.GetStatusResponse) float64 { return float64(s.GetBrownoutLevel()) }), count},
		{"mails/s", h.of(func(s *operatorv1.GetStatusResponse) float64 { return lane(s, "mail").GetRate() }), humanize.Number},
		{"passwords/s", h.of(func(s *operatorv1.GetStatusResponse) float64 { return lane(s, "apply").GetRate() }), humanize.Number},
		{"waiting", h.of(waiting), count},
		{"oldest wait", h.of(func(s *operatorv1.GetStatusResponse) float64 {
			oldest := time.Duration(0)
			for _, l := range s.GetLanes() {
				if l.GetWaiting() > 0 {
					oldest = max(oldest, l.GetOldestWait().AsDuration())
				}
			}
			return oldest.Seconds()
		}), seconds},
	}
	if shown.GetDisk().GetReserveBytes() > 0 {
		list = append(list, series{"disk left", h.of(func(s *operatorv1.GetStatusResponse) float64 {
			return float64(s.GetDisk().GetAvailableBytes()) - float64(s.GetDisk().GetReserveBytes())
		}), func(v float64) string { return humanize.Bytes(uint64(max(0, v))) }})
	}
	for _, d := range shown.GetDownstreams() {
		name := strings.ReplaceAll(d.GetDownstream(), "_", " ")
		of := func(value func(*operatorv1.DownstreamStatus) float64) []float64 {
			return h.of(func(s *operatorv1.GetStatusResponse) float64 { return value(downstream(s, d.GetDownstream())) })
		}
		list = append(list,
			series{name + " items/s", of((*operatorv1.DownstreamStatus).GetItemRate), humanize.Number},
			series{name + " a call", of(func(d *operatorv1.DownstreamStatus) float64 { return d.GetCallTime().AsDuration().Seconds() }), seconds})
	}
	return list
}

func waiting(s *operatorv1.GetStatusResponse) float64 {
	n := uint64(0)
	for _, l := range s.GetLanes() {
		n += l.GetWaiting()
	}
	return float64(n)
}

func lane(s *operatorv1.GetStatusResponse, name string) *operatorv1.LaneStatus {
	for _, l := range s.GetLanes() {
		if l.GetLane() == name {
			return l
		}
	}
	return nil
}

func downstream(s *operatorv1.GetStatusResponse, name string) *operatorv1.DownstreamStatus {
	for _, d := range s.GetDownstreams() {
		if d.GetDownstream() == name {
			return d
		}
	}
	return nil
}
