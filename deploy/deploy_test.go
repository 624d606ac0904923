// Package deploy_test holds what is installed to what it promises: archives, unit, image, manifests.
package deploy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/surgegate/surgegate/pkg/config"
)

// need skips the test where a program is missing; with CI set nothing may be missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is missing: `make test` installs it as root on Debian", p)
			}
			t.Skipf("%s is missing", p)
		}
	}
}

// run returns what a command writes, and fails the test when it fails.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// programs returns a folder with surgegate and surgectl, built statically once for all tests.
func programs(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "surgegate-deploy"); built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", built.dir, "../cmd/surgegate", "../cmd/surgectl")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		built.out, built.err = cmd.CombinedOutput()
	})
	if built.err != nil {
		t.Fatalf("go build: %v\n%s", built.err, built.out)
	}
	return built.dir
}

var built struct {
	once sync.Once
	dir  string
	out  []byte
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // in the system's folder for temporary files
	}
	os.Exit(code)
}

// checkConfig runs surgegate check over a configuration whose files in /etc/surgegate are there.
func checkConfig(t *testing.T, text string) {
	t.Helper()
	dir := t.TempDir()
	certificate, key := selfSigned(t)
	for _, m := range regexp.MustCompile(`/etc/surgegate/[\w./-]+`).FindAllString(text, -1) {
		file := filepath.Join(dir, strings.TrimPrefix(m, "/etc/surgegate/"))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		content := []byte("placeholder:0123456789abcdef0123456789abcdef\n") // a password, or a line of operator.tokens_file
		switch filepath.Ext(file) {
		case ".crt":
			content = certificate
		case ".key":
			content = key
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "surgegate.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "/etc/surgegate/", dir+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := run(t, nil, filepath.Join(programs(t), "surgegate"), "check", "--config", file); !strings.Contains(out, "is good") {
		t.Error(out)
	}
}

// selfSigned returns a certificate and its key, in PEM.
func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &pair.PublicKey, pair)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func TestExampleConfigurationIsGood(t *testing.T) {
	t.Parallel()
	checkConfig(t, readFile(t, "surgegate.yaml"))
}

func TestConfigMapIsGood(t *testing.T) {
	t.Parallel()
	manifest, _, _ := strings.Cut(readFile(t, "kubernetes/surgegate.yaml"), "\n---\n")
	var m struct {
		Data map[string]string `yaml:"data"`
	}
	if err := yaml.Unmarshal([]byte(manifest), &m); err != nil {
		t.Fatal(err)
	}
	if m.Data["surgegate.yaml"] == "" {
		t.Fatal("the ConfigMap comes first and has surgegate.yaml")
	}
	checkConfig(t, m.Data["surgegate.yaml"])
}

// maxExposure is the most that systemd-analyze may find, of 100: what remains is the network, which surgegate needs.
const maxExposure = "15"

func TestUnitIsHardened(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze")
	run(t, nil, "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+maxExposure, "systemd/surgegate.service")
}

// TestUnitIsUnderstood: systemd knows every key, and the folders of the example are those that the unit makes.
func TestUnitIsUnderstood(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze")
	unit := readFile(t, "systemd/surgegate.service")
	local := strings.ReplaceAll(unit, "/usr/bin/surgegate", filepath.Join(programs(t), "surgegate"))
	file := filepath.Join(t.TempDir(), "surgegate.service")
	if err := os.WriteFile(file, []byte(local), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := run(t, []string{"SYSTEMD_LOG_LEVEL=warning"}, "systemd-analyze", "verify", "--man=no", file); strings.Contains(out, "surgegate.service") {
		t.Error(out)
	}
	value := func(key string) string {
		m := regexp.MustCompile(`(?m)^` + key + `=(.+)$`).FindStringSubmatch(unit)
		if m == nil {
			t.Fatalf("the unit has no %s", key)
		}
		return m[1]
	}
	if got := value("StateDirectory"); got != "surgegate surgegate-keys" {
		t.Errorf("StateDirectory=%s: data_dir and keys_dir of surgegate.yaml are not in it", got)
	}
	stop, err := time.ParseDuration(value("TimeoutStopSec"))
	if grace := config.Default().Shutdown.Grace.Std(); err != nil || stop < grace+10*time.Second {
		t.Errorf("TimeoutStopSec=%s, shutdown.grace is %s", value("TimeoutStopSec"), grace)
	}
}
