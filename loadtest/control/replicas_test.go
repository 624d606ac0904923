package control

import (
	"reflect"
	"slices"
	"testing"
)

func group(t testing.TB, shape, which string, slow bool, seed uint64, replicas int, shared bool) GroupResult {
	t.Helper()
	i := slices.IndexFunc(Shapes(), func(s Shape) bool { return s.Name == shape })
	m := Shapes()[i].Make(Draw{Seed: seed, Slow: slow, MostCalls: 20_000})
	r, err := RunGroup(NewGroup(m, replicas, shared, which), seed)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Replicas share a store by one chart, whatever happens to them and to who decides. Floors are a little under today's worst
// of these; the whole comparison is `storm bench --only control`.
func TestReplicasShareAStore(t *testing.T) {
	t.Parallel()
	for _, which := range Cases() {
		for _, shape := range []string{"usl", "workers"} {
			for _, slow := range []bool{false, true} {
				for _, k := range []int{2, 4, 16} {
					r := group(t, shape, which, slow, 9, k, true)
					least := .8
					if slow && shape == "usl" {
						least = .65 // a few calls a second, told half a second late
					}
					if r.Goodput < least || r.Jain < .9 {
						t.Errorf("%s, %s, slow %v, %d replicas: sum %.3f of best, Jain %.3f", which, shape, slow, k, r.Goodput, r.Jain)
					}
				}
			}
		}
	}
}

// This is what the shared chart is for: charts that know nothing of each other push a store with contention over.
func TestChartsOfTheirOwnPushAStoreOver(t *testing.T) {
	t.Parallel()
	for _, k := range []int{8, 16} {
		own, shared := group(t, "usl", "steady", false, 9, k, false), group(t, "usl", "steady", false, 9, k, true)
		if own.Goodput > .5*shared.Goodput || own.Jain > shared.Jain {
			t.Errorf("%d replicas: %.3f of best and Jain %.3f alone, %.3f and %.3f together", k, own.Goodput, own.Jain, shared.Goodput, shared.Jain)
		}
	}
}

func TestTheSameSeedIsTheSameGroup(t *testing.T) {
	t.Parallel()
	a, b := group(t, "usl", "come and go", false, 3, 4, true), group(t, "usl", "come and go", false, 3, 4, true)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%.6f and %.6f of best", a.Goodput, b.Goodput)
	}
}
