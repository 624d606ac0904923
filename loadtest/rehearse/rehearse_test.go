package rehearse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/app"
	"github.com/surgegate/surgegate/pkg/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a real gateway before a real victim, which mails to where the test says.
type world struct {
	gateway string
	control string
}

func begin(t *testing.T, mail string) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{gateway: free(t), control: free(t)}
	ctx, cancel := context.WithCancel(context.Background())
	store, err := victim.New(victim.Config{
		Address: "127.0.0.1:0", Ledger: filepath.Join(dir, "ledger"), HashTime: time.Millisecond, Control: w.control,
	}, victim.Deps{Die: func() { t.Error("the store died") }})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "surgegate.yaml")
	text := fmt.Sprintf(`data_dir: %q
keys_dir: %q
listen: {grpc: %q, operator: %q, http: %q}
trust: {callers: ["127.0.0.0/8"]}
queue: {disk_reserve: 256MiB}
store: {grpc: {address: %q, insecure: true}}
mail: {%s, base_url: "https://reset.example.com"}
`, filepath.Join(dir, "data"), filepath.Join(dir, "keys"), w.gateway, free(t), free(t), store.Addr(), mail)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ends := make(chan error, 2)
	go func() { ends <- store.Run(ctx) }()
	go func() { ends <- app.Run(ctx, app.Options{Config: cfg, Output: io.Discard}) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
	})
	return w
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it was only asked for
	return l.Addr().String()
}

// crowdOf lets n people come, one each interval, and an attacker with every fourth.
func crowdOf(n int, interval time.Duration) Storm {
	return Storm{Name: "test", Seed: 1, Open: func() (Stream, error) {
		l := &list{}
		for i := range n {
			l.left = append(l.left, crowd.Arrival{At: time.Duration(i) * interval, Number: uint64(i)})
			if i%4 == 0 {
				l.left = append(l.left, crowd.Arrival{At: time.Duration(i) * interval, Number: uint64(i), Who: crowd.Attacker})
			}
		}
		return l, nil
	}}
}

type list struct {
	left   []crowd.Arrival
	closed bool
}

func (l *list) Next() (crowd.Arrival, error) {
	if len(l.left) == 0 {
		return crowd.Arrival{}, io.EOF
	}
	a := l.left[0]
	l.left = l.left[1:]
	return a, nil
}

func (l *list) Close() error { l.closed = true; return nil }

var quick = people.Config{
	Resend: 1e-12, Read: time.Millisecond, Type: time.Millisecond, Return: 50 * time.Millisecond, Backoff: 50 * time.Millisecond,
}

func TestPeopleGoAllTheWayByMail(t *testing.T) {
	t.Parallel()
	const n = 60
	maildir, sink := filepath.Join(t.TempDir(), "mail"), free(t)
	for name, c := range map[string]struct {
		mail string // of the gateway
		cfg  Config
	}{
		"maildir": {fmt.Sprintf("maildir: {path: %q}", maildir), Config{Maildir: maildir}},
		"smtp":    {fmt.Sprintf("smtp: {address: %q, tls: none}", sink), Config{SMTP: sink}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t, c.mail)
			cfg := c.cfg
			cfg.Targets, cfg.Storm, cfg.People, cfg.MaxLag, cfg.Out = []string{w.gateway}, crowdOf(n, 10*time.Millisecond), quick, time.Minute, t.TempDir()
			cfg.Control, cfg.Limit = w.control, 40*time.Second
			cfg.Faults = []model.Fault{{Kind: model.StoreSlow, Factor: .5, At: 100 * time.Millisecond, For: 200 * time.Millisecond}}
			if c.cfg.SMTP != "" {
				cfg.Faults = append(cfg.Faults, model.Fault{Kind: model.MailRefuse, At: 0, For: 100 * time.Millisecond})
			}
			all, err := measure.NewThreshold("completed_share", ">= 100 %")
			if err != nil {
				t.Fatal(err)
			}
			cfg.Thresholds = []measure.Threshold{all}
			o, err := Run(t.Context(), cfg, Deps{Out: io.Discard})
			if err != nil {
				t.Fatalf("%v\n%+v", err, o.Arm)
			}
			if o.Arm.Completed != n || o.Arm.Attackers != n/4 || o.Report.Dropped != 0 || !o.Verdicts[0].OK {
				t.Errorf("%d completed, %d attackers, verdicts %+v", o.Arm.Completed, o.Arm.Attackers, o.Verdicts)
			}
			last := o.Arm.Samples[len(o.Arm.Samples)-1]
			if !last.Up || last.Completed != n {
				t.Errorf("the last sample is %+v", last)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	w := begin(t, fmt.Sprintf("maildir: {path: %q}", filepath.Join(t.TempDir(), "mail")))
	base := Config{Targets: []string{w.gateway}, Storm: crowdOf(5, time.Millisecond), People: quick, MaxLag: time.Minute, Out: t.TempDir()}
	impossible, err := measure.NewThreshold("completed_share", ">= 50 %") // nobody reads mails here
	if err != nil {
		t.Fatal(err)
	}
	broken := base
	broken.Thresholds = []measure.Threshold{impossible}
	if _, err := Run(t.Context(), broken, Deps{Out: io.Discard}); !errors.Is(err, ErrThreshold) {
		t.Errorf("a broken threshold: %v", err)
	}
	late := base
	late.MaxLag = 1 // ns
	if o, err := Run(t.Context(), late, Deps{Out: io.Discard}); !errors.Is(err, ErrInvalid) || o.Arm.Invalid == "" {
		t.Errorf("a generator that was late: %v", err)
	}
	// Interrupted: a report of what was, and no error.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	long := base
	long.Storm = crowdOf(1000, 20*time.Millisecond)
	o, err := Run(ctx, long, Deps{Out: io.Discard})
	if err != nil || o.Report.Dropped == 0 || o.Report.Sent == 0 || o.Report.Sent+o.Report.Dropped != o.Report.Intended {
		t.Errorf("interrupted: %v, %+v", err, o.Report)
	}
}

func TestFaultsOfTheArguments(t *testing.T) {
	t.Parallel()
	good := Config{Targets: []string{"127.0.0.1:1"}, Storm: crowdOf(1, 1), Out: t.TempDir()}
	for want, change := range map[string]func(*Config){
		"Targets":        func(c *Config) { c.Targets = nil },
		"Storm":          func(c *Config) { c.Storm = Storm{} },
		"one %d":         func(c *Config) { c.Identifier = "somebody" },
		"both set":       func(c *Config) { c.Maildir, c.SMTP = "x", "y" },
		"Limit":          func(c *Config) { c.Limit = -1 },
		"cannot be done": func(c *Config) { c.Faults = []model.Fault{{Kind: model.DiskFull, At: 1, For: 1}} },
		"for how long":   func(c *Config) { c.Faults = []model.Fault{{Kind: model.MailRefuse, At: 1}} },
	} {
		cfg := good
		change(&cfg)
		if _, err := Run(t.Context(), cfg, Deps{Out: io.Discard}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestShapes(t *testing.T) {
	t.Parallel()
	read := func(shape Shape) (list []crowd.Arrival) {
		s, err := crowdOf(4000, time.Millisecond).Open()
		if err != nil {
			t.Fatal(err)
		}
		for shaped := NewShaped(s, shape); ; {
			a, err := shaped.Next()
			if err != nil {
				return list
			}
			list = append(list, a)
		}
	}
	whole := read(Shape{})
	thin := read(Shape{Thin: 10, Seed: 7})
	if n := len(thin); n < 400 || n > 600 || n >= len(whole) {
		t.Errorf("%d of %d are left of a tenth", n, len(whole))
	}
	kept := map[crowd.Arrival]bool{}
	for _, a := range thin {
		kept[a] = true
	}
	for _, a := range read(Shape{Thin: 20, Seed: 7}) {
		if !kept[a] {
			t.Errorf("%+v is in a twentieth, but not in a tenth", a)
		}
	}
	if fast := read(Shape{Speed: 4}); fast[len(fast)-1].At != whole[len(whole)-1].At/4 {
		t.Errorf("at four times the speed the last comes at %v", fast[len(fast)-1].At)
	}
	clones := map[crowd.Arrival]bool{}
	for _, a := range read(Shape{Amplify: 3}) {
		clones[crowd.Arrival{Number: a.Number, Who: a.Who}] = true
	}
	if len(clones) != 3*len(whole) {
		t.Errorf("%d different clones of %d", len(clones), len(whole))
	}
	if err := (Shape{Thin: .5}).WithDefaults().Validate(); err == nil {
		t.Error("a thin of a half was taken")
	}
}
