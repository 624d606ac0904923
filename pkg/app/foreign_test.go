package app_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/surgegate/surgegate/pkg/credstore"
)

// tool finds a program that knows nothing of surgegate; `make test` builds it.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not there: make build/bin/%s", name, name)
	}
	t.Skipf("%s is not there: make build/bin/%s", name, name)
	return ""
}

// TestGrpcurlFindsItsWayByReflection runs the line that the start prints.
func TestGrpcurlFindsItsWayByReflection(t *testing.T) {
	t.Parallel()
	grpcurl := tool(t, "grpcurl")
	g := newGateway(t, "{sqlite: {path: "+t.TempDir()+"/store.db, sample: true}}", "")
	g.start()
	out, err := exec.Command(grpcurl, "-plaintext", g.grpc, "describe", "surgegate.reset.v1.PasswordReset").CombinedOutput()
	for _, call := range []string{"StartReset", "CheckToken", "CompleteReset", "GetTicket", "WatchTicket"} {
		if err != nil || !strings.Contains(string(out), call) {
			t.Errorf("%s is not described: %v\n%s", call, err, out)
		}
	}
	var line string
	for l := range strings.Lines(g.output()) {
		if strings.Contains(l, "grpcurl") {
			line = strings.TrimSpace(l)
		}
	}
	shell := exec.Command("sh", "-c", strings.Replace(line, "grpcurl", grpcurl, 1))
	out, err = shell.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "STATE_ACCEPTED") {
		t.Errorf("the printed line fails: %v\n%s\n%s", err, line, out)
	}
}

// TestGhzLoadsIt: a load generator that knows only the reflection gets accepted.
func TestGhzLoadsIt(t *testing.T) {
	t.Parallel()
	ghz := tool(t, "ghz")
	_, yaml := newLedger(t, credstore.FormPlaintext, 1)
	g := newGateway(t, yaml, generous)
	g.start()
	out, err := exec.Command(ghz, "--insecure", "--call", "surgegate.reset.v1.PasswordReset/StartReset", "-n", "2000", "-c", "20",
		"-d", `{"identifier": "ghz-{{.RequestNumber}}@example.com", "client": {"ip": "192.0.2.9"}}`, "-O", "json", g.grpc).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var report struct {
		Count       int            `json:"count"`
		StatusCodes map[string]int `json:"statusCodeDistribution"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	if report.Count != 2000 || report.StatusCodes["OK"] != 2000 {
		t.Errorf("%+v", report)
	}
}
