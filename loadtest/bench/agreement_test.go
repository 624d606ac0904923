package bench

import (
	"testing"
)

func TestDrained(t *testing.T) {
	t.Parallel()
	if at := drained([]moment{{1, 0}, {2, 100}, {3, 40}, {4, 2}, {5, 6}, {6, 5}, {7, 0}}); at != 5 {
		t.Errorf("drained after %v s, want 5", at)
	}
	if at := drained(nil); at != 0 {
		t.Errorf("nothing drained after %v s", at)
	}
}

func TestAgreement(t *testing.T) {
	t.Parallel()
	for _, f := range []agreementFigure{{Simulated: 114, Real: 100}, {Simulated: 86, Real: 100}} {
		if !f.Agrees() {
			t.Errorf("%+v does not agree", f)
		}
	}
	for _, f := range []agreementFigure{{Simulated: 116, Real: 100}, {Simulated: 84, Real: 100}, {Simulated: 0, Real: 1}, {Simulated: 1}} {
		if f.Agrees() {
			t.Errorf("%+v agrees", f)
		}
	}
}

// The virtual half of the gate: the storm has a line to speak of, and everybody gets there.
func TestTheSimulatedStormHasALine(t *testing.T) {
	t.Parallel()
	r, err := simulateRun(t.Context(), storm(agreementConfig{Storm: "x", Surgegate: "x"}))
	if err != nil {
		t.Fatal(err)
	}
	if r.Completed != r.People || r.PeakBacklog < 500 || r.WaitP99MS < 5000 {
		t.Errorf("%d of %d completed, peak backlog %d, p99 %d ms", r.Completed, r.People, r.PeakBacklog, r.WaitP99MS)
	}
}
