package edge_test

import (
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/edge"
)

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	const longestWait = 30 * time.Second // of an answer that is held
	c := edge.Config{}.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if c.CallTimeout <= longestWait {
		t.Error("a call that waits as long as it may is cut")
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	cert := edge.TLS{CertFile: "c", KeyFile: "k"}
	mtls := edge.TLS{CertFile: "c", KeyFile: "k", ClientCAFile: "ca"}
	tests := []struct {
		name string
		cfg  edge.Config
		want string // what the error begins with; empty: valid
	}{
		{"off loopback", edge.Config{GRPC: edge.Listener{Address: "0.0.0.0:1"}}, "GRPC.Address"},
		{"all interfaces", edge.Config{GRPC: edge.Listener{Address: ":1"}}, "GRPC.Address"},
		{"a name may be anything", edge.Config{GRPC: edge.Listener{Address: "host.example:1"}}, "GRPC.Address"},
		{"off loopback, insecure", edge.Config{GRPC: edge.Listener{Address: "0.0.0.0:1", Insecure: true}}, ""},
		{"off loopback, TLS", edge.Config{GRPC: edge.Listener{Address: "0.0.0.0:1", TLS: cert}}, ""},
		{"localhost", edge.Config{GRPC: edge.Listener{Address: "localhost:1"}}, ""},
		{"IPv6 loopback", edge.Config{HTTP: edge.Listener{Address: "[::1]:1"}}, ""},
		{"metrics off loopback", edge.Config{HTTP: edge.Listener{Address: "0.0.0.0:1"}}, "HTTP.Address"},
		{"no port", edge.Config{HTTP: edge.Listener{Address: "127.0.0.1"}}, "HTTP.Address"},
		{"operator off loopback, TLS only", edge.Config{Operator: edge.Listener{Address: "0.0.0.0:1", TLS: cert}}, "Operator.Address"},
		{"operator off loopback, insecure only", edge.Config{Operator: edge.Listener{Address: "0.0.0.0:1", Insecure: true}}, "Operator.Address"},
		{"operator off loopback, mTLS", edge.Config{Operator: edge.Listener{Address: "0.0.0.0:1", TLS: mtls}}, ""},
		{"operator off loopback, tokens", edge.Config{Operator: edge.Listener{Address: "0.0.0.0:1", TLS: cert}, OperatorTokensFile: "t"}, ""},
		{"key missing", edge.Config{GRPC: edge.Listener{TLS: edge.TLS{CertFile: "c"}}}, "GRPC.TLS"},
		{"CA without certificate", edge.Config{GRPC: edge.Listener{TLS: edge.TLS{ClientCAFile: "c"}}}, "GRPC.TLS.ClientCAFile"},
		{"identity without CA", edge.Config{TrustedCallers: []string{"front.example"}}, "TrustedCallers"},
		{"identity with CA", edge.Config{GRPC: edge.Listener{TLS: mtls}, TrustedCallers: []string{"front.example", "spiffe://x/y"}}, ""},
		{"bad CIDR", edge.Config{TrustedCallers: []string{"::1", "10.0.0.0/33"}}, "TrustedCallers[1]"},
		{"mapped CIDR", edge.Config{TrustedCallers: []string{"::ffff:10.0.0.0/104"}}, "TrustedCallers[0]"},
		{"negative", edge.Config{CallTimeout: -1}, "CallTimeout"},
		{"no streams", edge.Config{MaxConcurrentStreams: -1}, "MaxConcurrentStreams"},
	}
	for _, tt := range tests {
		err := tt.cfg.WithDefaults().Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want+":")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
