package config_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/hashpool"
	"github.com/surgegate/surgegate/pkg/promise"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
)

const good = `
data_dir: ./d
keys_dir: ./k
store: {grpc: {address: "127.0.0.1:7700", insecure: true}, headroom: 0.2}
mail: {maildir: {path: ./m}, base_url: "https://reset.example.com"}
queue: {engine: embedded, max_bytes: 20GiB, disk_reserve: 2GiB}
admission:
  global:     {rate: 20000/s, burst: 40000}
  client:     {rate: 20/m, burst: 20}
  identifier: {rate: 5/h, burst: 5}
`

// grpcSection is what another store stands for.
const grpcSection = `grpc: {address: "127.0.0.1:7700", insecure: true}`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "surgegate.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheExampleOfTheDesignLoads(t *testing.T) {
	t.Parallel()
	c, err := config.Load(write(t, good), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Store.GRPC.Address != "127.0.0.1:7700" || c.Queue.MaxBytes != 20<<30 || c.Admission.Client.Rate.String() != "20/m" {
		t.Errorf("read %+v", c)
	}
}

func TestWithoutAFileSamplesAreServedFromLoopback(t *testing.T) {
	t.Parallel()
	c, err := config.Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Store.SQLite == nil || !c.Store.SQLite.Sample || c.Mail.Maildir == nil || c.Listen.GRPC != "127.0.0.1:7600" {
		t.Errorf("read %+v", c)
	}
}

// A file, the environment and a library user must not have different defaults.
func TestDefaultsAreThoseOfThePackages(t *testing.T) {
	t.Parallel()
	c := config.Default()
	same(t, "edge.MaxConnections", c.Edge().WithDefaults().MaxConnections, edge.Config{}.WithDefaults().MaxConnections)
	same(t, "edge.MaxConnectionAge", c.Edge().WithDefaults().MaxConnectionAge, edge.Config{}.WithDefaults().MaxConnectionAge)
	same(t, "gate", c.Accept().WithDefaults(), gate.Config{}.WithDefaults())
	same(t, "admission", c.Admit().WithDefaults(), admission.Config{}.WithDefaults())
	same(t, "hashpool", c.HashPool().WithDefaults(), hashpool.Config{}.WithDefaults())
	same(t, "embedded.MaxBytes", c.Engine().WithDefaults().MaxBytes, embedded.Config{}.WithDefaults().MaxBytes)
	same(t, "embedded.DiskReserve", c.Engine().WithDefaults().DiskReserve, embedded.Config{}.WithDefaults().DiskReserve)
	same(t, "embedded.Retention", c.Engine().WithDefaults().Retention, embedded.Config{}.WithDefaults().Retention)
	work, def := c.Work().WithDefaults(), dispatch.Config{}.WithDefaults()
	same(t, "dispatch.StoreTimeout", work.StoreTimeout, def.StoreTimeout)
	same(t, "dispatch.LinkTTL", work.LinkTTL, def.LinkTTL)
	same(t, "dispatch.Identifier", work.Identifier, def.Identifier)
	same(t, "dispatch.DrainGrace", work.DrainGrace, def.DrainGrace)
	same(t, "promise", c.Promise().WithDefaults(), promise.Config{}.WithDefaults())
	same(t, "dispatch.Promise", work.Promise, def.Promise)
	same(t, "dispatch.SignOut", work.SignOut, def.SignOut)
	same(t, "dispatch.MailBudget", work.MailBudget, def.MailBudget)
}

func same[T comparable](t *testing.T, name string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: the file's default is %+v, the library's %+v", name, got, want)
	}
}

func TestWhatIsWrongIsSaidWithFileLineAndFix(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", good + "stroe: {}\n", "surgegate.yaml:11: unknown key \"stroe\": `surgegate check --explain` lists every key"},
		{"unknown key inside", strings.Replace(good, "headroom", "headrom", 1), "surgegate.yaml:4: unknown key \"headrom\""},
		{"nothing", "", "surgegate.yaml: store: names no store"},
		{"only a document's begin", "---\n", "surgegate.yaml: store: names no store"},
		{"second document", good + "---\nrole: front\n", "surgegate.yaml:12: is in a second YAML document, which is not read"},
		{"text for a number", strings.Replace(good, "headroom: 0.2", "headroom: a fifth", 1), "surgegate.yaml:4: a text stands where a number belongs"},
		{"port too high", good + "listen: {grpc: \"127.0.0.1:99999\"}\n", "surgegate.yaml:11: listen.grpc: \"127.0.0.1:99999\" has no port"},
		{"store without a port", strings.Replace(good, "127.0.0.1:7700", "auth.internal:", 1), "surgegate.yaml:4: store.grpc.address: \"auth.internal:\" is not host:port"},
		{"key twice", good + "data_dir: ./e\n", "surgegate.yaml:11: mapping key \"data_dir\" already defined"},
		{"no unit", strings.Replace(good, "20GiB", "20000000", 1), "surgegate.yaml:6: queue.max_bytes: \"20000000\" is not a size: write a number with KiB, MiB, GiB or TiB, such as 20GiB"},
		{"wrong unit", good + "token: {ttl: 60GiB}\n", "surgegate.yaml:11: token.ttl: \"60GiB\" is not a time span"},
		{"duration without a unit", good + "token: {ttl: 60}\n", "surgegate.yaml:11: token.ttl: \"60\" is not a time span: write a number with ms, s, m or h, such as 30s"},
		{"promise too short", good + "reset: {promise: 100ms}\n", "surgegate.yaml:11: reset.promise"},
		{"promise too long", good + "reset: {promise: 25h}\n", "surgegate.yaml:11: reset.promise"},
		{"rate without a unit", strings.Replace(good, "20/m", "20", 1), "surgegate.yaml:9: admission.client.rate"},
		{"negative duration", good + "token: {ttl: -1h}\n", "surgegate.yaml:11: token.ttl"},
		{"two stores", strings.Replace(good, "insecure: true}", "insecure: true}, sqlite: {path: x}", 1), "surgegate.yaml:4: store: names two stores, sqlite and grpc: keep one"},
		{"two others", strings.Replace(good, "insecure: true}", "insecure: true}, postgres: {url: x}", 1), "surgegate.yaml:4: store: names two stores, grpc and postgres: keep one"},
		{"three stores", strings.Replace(good, "insecure: true}", "insecure: true}, postgres: {url: x}, sqlite: {path: x}", 1), "surgegate.yaml:4: store: names three stores: keep one"},
		{"no database", strings.Replace(good, grpcSection, "postgres: {accounts: {table: users}}", 1), "surgegate.yaml:4: store.postgres.url: is required"},
		{"no table", strings.Replace(good, grpcSection, "postgres: {url: \"postgres://surgegate@localhost/app\",\n    accounts: {id: uid}}", 1), "surgegate.yaml:5: store.postgres.accounts.table: name the accounts' table"},
		{"a password in the file", strings.Replace(good, grpcSection, "postgres: {url: \"postgres://u:hunter2@localhost/app\", accounts: {table: users}}", 1), "surgegate.yaml:4: store.postgres.url: holds a password: put it into a file"},
		{"an open line to the database", strings.Replace(good, grpcSection, "postgres: {url: \"postgres://u@db.internal/app\", accounts: {table: users}}", 1), "surgegate.yaml:4: store.postgres.url: goes off this machine without verifying the server"},
		{"set without lock", strings.Replace(good, grpcSection, "postgres: {url: \"postgres://u@localhost/app\", accounts: {table: users}, statements: {set: x}}", 1), "surgegate.yaml:4: store.postgres.statements.set: needs statements.lock"},
		{"too many connections", strings.Replace(good, grpcSection, "postgres: {url: \"postgres://u@localhost/app\", accounts: {table: users}, max_connections: 1001}", 1), "surgegate.yaml:4: store.postgres.max_connections: 1001"},
		{"more calls than connections", strings.Replace(good, grpcSection, "postgres: {url: \"postgres://u@localhost/app\", accounts: {table: users}}, pace: {min_concurrency: 20}", 1), "surgegate.yaml:4: store.pace.min_concurrency: 20 is more than the 16 connections: raise store.postgres.max_connections"},
		{"more mails than connections", strings.Replace(good, "mail: {maildir: {path: ./m}", "mail: {smtp: {address: \"localhost:25\", connections: 3}, pace: {min_concurrency: 4}", 1), "surgegate.yaml:5: mail.pace.min_concurrency: 4 is more than the 3 connections: raise mail.smtp.connections"},
		{"unknown column key", strings.Replace(good, grpcSection, "postgres: {url: \"postgres://u@localhost/app\", accounts: {tabel: users}}", 1), "surgegate.yaml:4: unknown key \"tabel\""},
		{"no password file", strings.Replace(good, grpcSection, "postgres: {url: \"postgres://u@localhost/app\", accounts: {table: users}, password_file: ./none}", 1), "surgegate.yaml:4: store.postgres.password_file: open ./none"},
		{"no store", strings.Replace(good, "store: {grpc: {address: \"127.0.0.1:7700\", insecure: true}, headroom: 0.2}", "", 1), "store: names no store"},
		{"keys inside data", strings.Replace(good, "./k", "./d/keys", 1), "surgegate.yaml:3: keys_dir: ./d/keys is inside data_dir"},
		{"open line", strings.Replace(good, "https:", "http:", 1), "surgegate.yaml:5: mail.base_url: \"http://reset.example.com\" would mail tokens over an open line: write https"},
		{"off loopback", good + "listen: {grpc: \"0.0.0.0:7600\"}\n", "surgegate.yaml:11: listen.grpc: 0.0.0.0:7600 is not loopback and there is no TLS: set tls.cert and tls.key, or insecure: true"},
		{"operator off loopback", good + "insecure: true\nlisten: {operator: \"0.0.0.0:7601\"}\n", "set operator.client_ca or operator.tokens_file"},
		{"role", good + "role: worker\n", "surgegate.yaml:11: role: worker needs a queue that several processes share"},
		{"engine", strings.Replace(good, "engine: embedded", "engine: jetstream", 1), "surgegate.yaml:6: queue.engine: \"jetstream\" is unknown: write embedded"},
		{"weak hash", good + "hash: {memory: 1MiB}\n", "surgegate.yaml:11: hash"},
		{"syntax", "data_dir: [\n", "surgegate.yaml:1"},
		{"headroom", strings.Replace(good, "0.2", "1.2", 1), "surgegate.yaml:4: store.headroom: 1.2 is out of bounds: write 0 to 0.9"},
		{"same address", good + "listen: {grpc: \"127.0.0.1:7601\"}\n", "is the address of listen.grpc too"},
		{"no reserve", strings.Replace(good, "2GiB", "0B", 1), "surgegate.yaml:6: queue.disk_reserve: leaves nothing"},
		{"batch of mails", strings.Replace(good, "mail: {", "mail: {pace: {batch: 10}, ", 1), "surgegate.yaml:5: mail.pace.batch: 10 has no effect"},
		{"bulk mail without a share", strings.Replace(good, "mail: {", "mail: {bulk: {share: 0}, ", 1), "surgegate.yaml:5: mail.bulk.share: 0 is out of bounds: write a share over 0 and up to 1"},
		{"bulk mail backwards", strings.Replace(good, "mail: {", "mail: {bulk: {rate: -1}, ", 1), "surgegate.yaml:5: mail.bulk.rate: -1 is no rate"},
		{"endless interactive mail", strings.Replace(good, "mail: {", "mail: {interactive: {rate: .inf}, ", 1), "surgegate.yaml:5: mail.interactive.rate: +Inf is no rate"},
		{"no passes", good + "hash: {time: 0}\n", "surgegate.yaml:11: hash.time: 0 is out of bounds"},
		{"no memory", good + "hash: {memory: 0B}\n", "surgegate.yaml:11: hash.memory"},
		{"too large", good + strings.Repeat("# x\n", 1<<14), "surgegate.yaml: is larger than 64 KiB"},
		{"far too large a number", strings.Replace(good, "headroom: 0.2", "pace: {concurrency: 99999999999999999999}", 1), "surgegate.yaml:4: 99999999999999999999 is out of bounds: write a smaller number"},
		{"number for a section", good + "listen: 7\n", "surgegate.yaml:11: a whole number stands where a section, written {key: value}, belongs"},
		{"text for a list", good + "trust: {callers: web.example.com}\n", "surgegate.yaml:11: a text stands where a list, written [a, b], belongs"},
		{"CIDR too long", good + "trust: {callers: [10.0.0.0/33]}\n", "surgegate.yaml:11: trust.callers: \"10.0.0.0/33\" is neither a CIDR nor a certificate's name: write such as 10.0.0.0/8"},
		{"address that is none", good + "trust: {callers: [\"300.0.0.1\"]}\n", "surgegate.yaml:11: trust.callers: \"300.0.0.1\" is neither"},
		{"name without certificates", good + "trust: {callers: [web.example.com]}\n", "surgegate.yaml:11: trust.callers: \"web.example.com\" is a certificate's name, but nothing asks for certificates"},
		{"no certificate", good + "tls: {cert: config.go, key: config.go}\n", "surgegate.yaml:11: tls.cert: config.go and config.go: tls: failed to find any PEM data"},
		{"no authority", good + "tls: {client_ca: config.go}\n", "surgegate.yaml:11: tls.client_ca: config.go holds no certificate"},
		{"no relay's authority", strings.Replace(good, "maildir: {path: ./m}", "smtp: {address: \"192.0.2.1:25\", ca: config.go}", 1), "surgegate.yaml:5: mail.smtp.ca: config.go holds no certificate"},
		{"no operator", good + "operator: {tokens_file: /dev/null}\n", "surgegate.yaml:11: operator.tokens_file: /dev/null names no operator"},
		{"bad operator", good + "operator: {tokens_file: config.go}\n", "surgegate.yaml:11: operator.tokens_file: config.go: operator tokens, line 1"},
		{"folder for a file", good + "password: {blocklist_file: .}\n", "surgegate.yaml:11: password.blocklist_file: policy: BlocklistFile: .: read .: is a directory"},
		{"no hashes", good + "password: {breached_file: config.go}\n", "surgegate.yaml:11: password.breached_file: policy: BreachedFile: config.go"},
		{"no such file", good + "password: {blocklist_file: ./none.txt}\n", "surgegate.yaml:11: password.blocklist_file: policy: BlocklistFile: open ./none.txt: no such file or directory: name a file that this user can read"},
		{"fixed and bounded", strings.Replace(good, "headroom: 0.2", "pace: {concurrency: 8, max_concurrency: 16}", 1), "surgegate.yaml:4: store.pace.concurrency: 8 fixes it"},
		{"bounds that cross", strings.Replace(good, "headroom: 0.2", "pace: {min_concurrency: 8, max_concurrency: 4}", 1), "surgegate.yaml:4: store.pace.max_concurrency: 4 is under"},
		{"endless rate", strings.Replace(good, "headroom: 0.2", "pace: {rate: .inf}", 1), "surgegate.yaml:4: store.pace.rate"},
		{"bad sender", strings.Replace(good, "mail: {", "mail: {from: nobody, ", 1), "surgegate.yaml:5: mail.from"},
		{"two lines of name", strings.Replace(good, "mail: {", "mail: {site_name: \"a\\r\\nb\", ", 1), "surgegate.yaml:5: mail"},
		{"unknown decision", good + "log: {decisions: [shed, all]}\n", "surgegate.yaml:11: log.decisions: \"all\" is unknown: write shed, limited, refused, paced, levelled, parked or breaker"},
		{"no collector", good + "trace: {endpoint: collector}\n", "surgegate.yaml:11: trace.endpoint: \"collector\" is not host:port"},
		{"no share", good + "trace: {endpoint: \"collector:4317\", sample: 2}\n", "surgegate.yaml:11: trace.sample: 2 is not between 0 and 1"},
		{"a share of nothing", good + "trace: {sample: 2}\n", "surgegate.yaml:11: trace.sample: 2 is not between 0 and 1"},
		{"collector twice", good + "trace: {endpoint: \"collector:4317\", insecure: true, ca: config.go}\n", "surgegate.yaml:11: trace.insecure: turns TLS off, but ca is set"},
		{"no collector's authority", good + "trace: {endpoint: \"collector:4317\", ca: config.go}\n", "surgegate.yaml:11: trace.ca: config.go holds no certificate"},
		{"insecure to nowhere", good + "trace: {insecure: true}\n", "surgegate.yaml:11: trace.endpoint: is empty"},
		{"dry run", strings.Replace(good, "admission:", "admission:\n  dry_run: [all]", 1), "surgegate.yaml:8: admission.dry_run: \"all\" is no rule"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(write(t, c.text), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), `role: ""`) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestARelayMayHaveItsOwnAuthority(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(write(t, strings.Replace(good, "maildir: {path: ./m}", "smtp: {address: \"192.0.2.1:25\", ca: "+ca+"}", 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Relay().CAFile; got != ca {
		t.Errorf("the relay gets %q", got)
	}
}

// What an error says to write must be good once it is written.
func TestInsecureIsTheWayOutThatIsNamed(t *testing.T) {
	t.Parallel()
	open := strings.Replace(good, "maildir: {path: ./m}", "smtp: {address: \"192.0.2.1:25\", tls: none}", 1)
	if _, err := config.Load(write(t, open), nil); err == nil || !strings.Contains(err.Error(), "surgegate.yaml:5: mail.smtp: tls: none outside loopback needs insecure: true") {
		t.Errorf("mails over an open line: %v", err)
	}
	if _, err := config.Load(write(t, open+"insecure: true\n"), nil); err != nil {
		t.Error(err)
	}
}

// Before the first start neither folder is there, so links above them are all that tells.
func TestKeysAndDataInsideEachOther(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "data"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		data, keys string
		inside     bool
	}{
		{"data", "link/keys", true}, {"data", "link/a/b", true}, {"link", "data/keys", true}, {"link/d", "data/d/keys", true},
		{"new/keys/data", "new/keys", true}, {"link/d", "data", true}, {"data/d", "link", true},
		{"data", "keys", false}, {"link/d", "data/keys", false}, {"new/data", "new/keys", false}, {"new", "new/keys", true},
	} {
		text := strings.Replace(good, "./k", filepath.Join(dir, c.keys), 1)
		text = strings.Replace(text, "./d", filepath.Join(dir, c.data), 1)
		_, err := config.Load(write(t, text), nil)
		if got := err != nil && strings.Contains(err.Error(), "a backup of both opens every pending password"); got != c.inside {
			t.Errorf("data_dir %s, keys_dir %s: refused %v, want %v (%v)", c.data, c.keys, got, c.inside, err)
		}
	}
}

func TestAllThatIsWrongIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Load(write(t, strings.Replace(good, "0.2", "2", 1)+"role: x\nlog: {level: loud}\n"), nil)
	for _, want := range []string{"store.headroom", "role", "log.level"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is missing in: %v", want, err)
		}
	}
}

func TestTheEnvironmentOverridesAndIsChecked(t *testing.T) {
	t.Parallel()
	c, err := config.Load(write(t, good), []string{
		"SURGEGATE_LISTEN_GRPC=127.0.0.1:9", "SURGEGATE_TOKEN_TTL=30m", "SURGEGATE_STORE_GRPC_ADDRESS=127.0.0.1:8",
		"SURGEGATE_TRUST_CALLERS=[10.0.0.0/8]", "SURGEGATE_STORE_PACE_CONCURRENCY=3", "PATH=/bin",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen.GRPC != "127.0.0.1:9" || c.Token.TTL.Std() != 30*time.Minute || c.Store.GRPC.Address != "127.0.0.1:8" ||
		len(c.Trust.Callers) != 1 || c.Store.Pace.Concurrency != 3 {
		t.Errorf("read %+v", c)
	}
	for env, want := range map[string]string{
		"SURGEGATE_LISTEN_GPRC=x":      "SURGEGATE_LISTEN_GPRC: unknown variable",
		"SURGEGATE_TOKEN_TTL=30":       "SURGEGATE_TOKEN_TTL: token.ttl",
		"SURGEGATE_STORE_HEADROOM=2":   "SURGEGATE_STORE_HEADROOM: store.headroom: 2 is out of bounds",
		"SURGEGATE_STORE_HEADROOM=lot": "SURGEGATE_STORE_HEADROOM: store.headroom: a text stands where a number belongs",
		"SURGEGATE_TRUST_CALLERS=a,b":  "SURGEGATE_TRUST_CALLERS: trust.callers: a text stands where a list, written [a, b], belongs",
	} {
		if _, err := config.Load(write(t, good), []string{env}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", env, err, want)
		}
	}
}

// A pod beside Services called surgegate and surgegate-operator gets these from Kubernetes; Docker's links look alike.
func TestLoad_PassesOverServiceLinks(t *testing.T) {
	t.Parallel()
	_, err := config.Load("", []string{
		"SURGEGATE_SERVICE_HOST=10.0.0.1", "SURGEGATE_SERVICE_PORT=7600", "SURGEGATE_SERVICE_PORT_GRPC=7600",
		"SURGEGATE_SERVICE_PORT_GRPC_WEB=7603", "SURGEGATE_PORT=tcp://10.0.0.1:7600", "SURGEGATE_PORT_7600_TCP=tcp://10.0.0.1:7600",
		"SURGEGATE_PORT_7600_TCP_PROTO=tcp", "SURGEGATE_PORT_7600_TCP_PORT=7600", "SURGEGATE_PORT_7600_TCP_ADDR=10.0.0.1",
		"SURGEGATE_OPERATOR_SERVICE_HOST=fd00::1", "SURGEGATE_OPERATOR_PORT=udp://[fd00::1]:7601", "SURGEGATE_DASHBOARDS=/srv",
	})
	if err != nil {
		t.Error(err)
	}
	for _, misspelt := range []string{"SURGEGATE_PORT=7600", "SURGEGATE_LISTEN_PORT=7600", "SURGEGATE_SERVICE=x", "SURGEGATE_STORE_POSTGRES_PORT=5432"} {
		if _, err := config.Load("", []string{misspelt}); err == nil || !strings.Contains(err.Error(), "unknown variable") {
			t.Errorf("%s: %v", misspelt, err)
		}
	}
}

func TestAStoreMayComeFromTheEnvironmentAlone(t *testing.T) {
	t.Parallel()
	c, err := config.Load("", []string{"SURGEGATE_STORE_GRPC_ADDRESS=127.0.0.1:7700", "SURGEGATE_STORE_GRPC_INSECURE=true"})
	if err != nil || c.Store.GRPC == nil || c.Store.SQLite != nil {
		t.Errorf("read %+v, %v", c.Store, err)
	}
}

func TestPostgresFromFileAndEnvironment(t *testing.T) {
	t.Parallel()
	c, err := config.Load(write(t, strings.Replace(good, grpcSection, "postgres: {accounts: {table: users, identifiers: [login, email]}}", 1)), []string{
		"SURGEGATE_STORE_POSTGRES_URL=postgres://surgegate@localhost:5433/app", "SURGEGATE_STORE_POSTGRES_ACCOUNTS_HASH=phc",
		"SURGEGATE_STORE_POSTGRES_LOCK_TIMEOUT=2s",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := c.PostgresStore()
	same(t, "MaxConnections", got.MaxConnections, postgres.Config{}.WithDefaults().MaxConnections)
	same(t, "MaxBatch", got.MaxBatch, postgres.Config{}.WithDefaults().MaxBatch)
	same(t, "Changes", got.Changes, postgres.Config{}.WithDefaults().Changes)
	same(t, "Sessions", got.Sessions, postgres.Config{}.WithDefaults().Sessions)
	same(t, "Hash", got.Accounts.Hash, "phc")
	same(t, "ID", got.Accounts.ID, "id")
	same(t, "LockTimeout", got.LockTimeout, 2*time.Second)
	same(t, "Where", got.Where(), "localhost:5433/app")
	if len(got.Accounts.Identifiers) != 2 || len(got.HashSchemes) != 2 {
		t.Errorf("read %+v", got)
	}
}

func TestExplainListsEveryKeyWithAMeaning(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := config.Explain(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines)%3 != 0 || len(lines) < 3*50 {
		t.Fatalf("%d lines", len(lines))
	}
	for i := 0; i < len(lines); i += 3 {
		if strings.TrimSpace(lines[i+2]) == "" || !strings.Contains(lines[i+1], "environment SURGEGATE_") {
			t.Errorf("%s has no meaning or no variable", lines[i])
		}
	}
	for _, want := range []string{"queue.max_bytes\n    default 20GiB", "store.grpc.address", "admission.client.rate\n    default 20/m", "store.postgres.max_connections\n    default 16"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(good)
	f.Add("a: &a [*a]")
	f.Add("token: {ttl: 1e9h}\nqueue: {max_bytes: NaNGiB}")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = config.Load(path, nil) // must not panic
	})
}

// Mail that nobody waits for gets the least of its own rate and its share of the pace.
func TestBulkMailStaysWithinItsShareOfThePace(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ pace, bulk, share, want float64 }{
		{0, 0, .5, 0}, {0, 7, .5, 7}, {100, 0, .5, 50}, {100, 7, .5, 7}, {10, 7, .5, 5},
	} {
		c := config.Default()
		c.Mail.Pace.Rate, c.Mail.Bulk = tc.pace, config.BulkMail{Rate: tc.bulk, Share: tc.share}
		c.Mail.Interactive.Rate = 3
		got := c.Work().MailBudget
		if got.Bulk.PerSecond != tc.want || got.BulkShare != tc.share || got.Interactive.PerSecond != 3 {
			t.Errorf("%+v makes %+v", tc, got)
		}
	}
}

func TestMailBudgetsFromTheEnvironment(t *testing.T) {
	t.Parallel()
	c, err := config.Load(write(t, good), []string{"SURGEGATE_MAIL_BULK_RATE=2.5", "SURGEGATE_MAIL_BULK_SHARE=0.25", "SURGEGATE_MAIL_INTERACTIVE_RATE=40"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Mail.Bulk != (config.BulkMail{Rate: 2.5, Share: .25}) || c.Mail.Interactive.Rate != 40 {
		t.Errorf("read %+v", c.Mail)
	}
}

// TestTheConfigurationOfTheExampleLoads reads the YAML of proto/README.md.
func TestTheConfigurationOfTheExampleLoads(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../proto/README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("proto/README.md has no YAML")
	}
	if _, err := config.Load(write(t, string(block[1])), nil); err != nil {
		t.Error(err)
	}
}

// TestTheConfigurationOfTheReadmeLoads reads the YAML of cmd/surgegate/README.md as it stands there, with real files where it
// names files: the whole file, and the same with its store in PostgreSQL.
func TestTheConfigurationOfTheReadmeLoads(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../cmd/surgegate/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 2 {
		t.Fatalf("cmd/surgegate/README.md has %d blocks of YAML, want the file and the PostgreSQL store", len(blocks))
	}
	dir := certificates(t, "tls.crt", "tls.key", "fronts.crt", "auth-ca.crt", "db-ca.crt", "smtp-password", "db-password")
	whole := strings.ReplaceAll(blocks[0][1], "/etc/surgegate", dir)
	c, err := config.Load(write(t, whole), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Store.GRPC == nil || c.Store.Headroom != 0.2 || c.Mail.Pace.Rate != 200 || c.Mail.Bulk.Share != 0.25 || c.Mail.SMTP == nil {
		t.Errorf("read %+v", c)
	}
	store := regexp.MustCompile(`(?s)\nstore:.*?\nmail:`)
	if !store.MatchString(whole) {
		t.Fatal("the file of cmd/surgegate/README.md has no store before its mail")
	}
	c, err = config.Load(write(t, store.ReplaceAllLiteralString(whole, "\n"+strings.ReplaceAll(blocks[1][1], "/etc/surgegate", dir)+"mail:")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Store.Postgres; p == nil || p.Accounts.Table != "users" || p.Sessions.AccountID != "user_id" {
		t.Errorf("read %+v", c.Store)
	}
}

// certificates makes a folder with the named files; .crt and .key are a certificate and its key.
func certificates(t *testing.T, names ...string) (dir string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, name := range names {
		content := []byte("a password")
		switch filepath.Ext(name) {
		case ".crt":
			content = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		case ".key":
			content = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
