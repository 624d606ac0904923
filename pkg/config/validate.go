package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/mail/maildir"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/policy"
)

func (s Store) none() bool { return len(s.named()) == 0 }
func (m Mail) none() bool  { return m.Maildir == nil && m.SMTP == nil }

// named lists the stores that are there.
func (s Store) named() (names []string) {
	for _, n := range []struct {
		name  string
		there bool
	}{{"sqlite", s.SQLite != nil}, {"grpc", s.GRPC != nil}, {"postgres", s.Postgres != nil}} {
		if n.there {
			names = append(names, n.name)
		}
	}
	return names
}

// problems collects what is wrong; each says what to write instead.
type problems []FieldError

func (p *problems) add(path, format string, args ...any) {
	*p = append(*p, FieldError{Path: path, Problem: fmt.Sprintf(format, args...)})
}

func (c *Config) validate() []FieldError {
	var p problems
	switch c.Role {
	case "all":
	case "front", "worker":
		p.add("role", "%s needs a queue that several processes share; the embedded queue lives in one: write all", c.Role)
	default:
		p.add("role", "%q is unknown: write all", c.Role)
	}
	if c.DataDir == "" {
		p.add("data_dir", "is empty: name a folder")
	}
	if c.KeysDir == "" {
		p.add("keys_dir", "is empty: name a folder")
	} else if inside(c.KeysDir, c.DataDir) {
		p.add("keys_dir", "%s is inside data_dir: a backup of both opens every pending password; name a folder outside of %s", c.KeysDir, c.DataDir)
	} else if c.DataDir != "" && inside(c.DataDir, c.KeysDir) {
		p.add("data_dir", "%s is inside keys_dir: a backup of both opens every pending password; name a folder outside of %s", c.DataDir, c.KeysDir)
	}
	c.validateListeners(&p)
	c.validateQueue(&p)
	c.validateStore(&p)
	c.validateMail(&p)
	c.validateSteps(&p)
	c.validateRest(&p)
	c.validateFiles(&p)
	return p
}

// validateFiles reads what is named as serve does, so that check finds what serve would stumble over.
func (c *Config) validateFiles(p *problems) {
	certificate(p, "tls.cert", c.TLS.Cert, c.TLS.Key)
	authorities(p, "tls.client_ca", c.TLS.ClientCA)
	certificate(p, "operator.cert", c.Operator.Cert, c.Operator.Key)
	authorities(p, "operator.client_ca", c.Operator.ClientCA)
	if data := contents(p, "operator.tokens_file", c.Operator.TokensFile); data != nil {
		if n, err := edge.CountOperators(data); err != nil {
			p.add("operator.tokens_file", "%s: %v", c.Operator.TokensFile, err)
		} else if n == 0 {
			p.add("operator.tokens_file", "%s names no operator: write a line name:token for each", c.Operator.TokensFile)
		}
	}
	if g := c.Store.GRPC; g != nil {
		certificate(p, "store.grpc.cert", g.Cert, g.Key)
		authorities(p, "store.grpc.ca", g.CA)
	}
	if s := c.Store.Postgres; s != nil {
		contents(p, "store.postgres.password_file", s.PasswordFile)
	}
	if s := c.Mail.SMTP; s != nil {
		authorities(p, "mail.smtp.ca", s.CA)
		contents(p, "mail.smtp.password_file", s.PasswordFile)
	}
	authorities(p, "trace.ca", c.Trace.CA)
	for _, list := range []struct {
		path string
		cfg  policy.Config
	}{
		{"password.blocklist_file", policy.Config{BlocklistFile: c.Password.BlocklistFile}},
		{"password.breached_file", policy.Config{BreachedFile: c.Password.BreachedFile}},
	} {
		if list.cfg == (policy.Config{}) {
			continue
		}
		loaded, err := policy.New(list.cfg)
		if err != nil {
			p.add(list.path, "%v: name a file that this user can read", err)
			continue
		}
		_ = loaded.Close() // it was only looked at
	}
}

// contents returns nil where no file is named, or where it cannot be read, which it says.
func contents(p *problems, path, file string) []byte {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		p.add(path, "%v: name a file that this user can read", err)
		return nil
	}
	return append([]byte{}, data...) // an empty file is not none
}

// certificate is for path, the key of the configuration that names cert. That both are named is another check's.
func certificate(p *problems, path, cert, key string) {
	if cert == "" || key == "" {
		return
	}
	chain, private := contents(p, path, cert), contents(p, strings.TrimSuffix(path, "cert")+"key", key)
	if chain == nil || private == nil {
		return
	}
	if _, err := tls.X509KeyPair(chain, private); err != nil {
		p.add(path, "%s and %s: %v: name PEM files that belong together", cert, key, err)
	}
}

func authorities(p *problems, path, file string) {
	if data := contents(p, path, file); data != nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
		p.add(path, "%s holds no certificate: name a PEM file of certificates", file)
	}
}

func inside(path, dir string) bool {
	a, err1 := filepath.Abs(path)
	b, err2 := filepath.Abs(dir)
	if err1 != nil || err2 != nil {
		return false
	}
	rel, err := filepath.Rel(resolved(b), resolved(a))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// resolved follows the links of as much of an absolute path as there is: before the first start a folder is not there
// yet, and a link above it can lead anywhere.
func resolved(path string) string {
	rest := ""
	for at := path; ; at = filepath.Dir(at) {
		if r, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(r, rest)
		}
		if filepath.Dir(at) == at {
			return path
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

func (c *Config) validateListeners(p *problems) {
	seen := map[string]string{}
	for _, l := range []struct{ path, address string }{
		{"listen.grpc", c.Listen.GRPC}, {"listen.operator", c.Listen.Operator},
		{"listen.http", c.Listen.HTTP}, {"listen.pprof", c.Listen.Pprof},
	} {
		if l.address == "" && l.path == "listen.pprof" {
			continue
		}
		_, port, err := net.SplitHostPort(l.address)
		if err != nil {
			p.add(l.path, "%q is not host:port: write such as \"127.0.0.1:7600\"", l.address)
			continue
		}
		if !isPort(port) {
			p.add(l.path, "%q has no port from 0 to 65535: write such as \"127.0.0.1:7600\"", l.address)
			continue
		}
		if other := seen[l.address]; other != "" && port != "0" {
			p.add(l.path, "is the address of %s too: give each its own port", other)
		}
		seen[l.address] = l.path
	}
	pair(p, "tls", c.TLS.Cert, c.TLS.Key)
	pair(p, "operator", c.Operator.Cert, c.Operator.Key)
	if c.TLS.Cert == "" && !c.Insecure && !Loopback(c.Listen.GRPC) {
		p.add("listen.grpc", "%s is not loopback and there is no TLS: set tls.cert and tls.key, or insecure: true", c.Listen.GRPC)
	}
	if c.TLS.Cert == "" && !c.Insecure && !Loopback(c.Listen.HTTP) {
		p.add("listen.http", "%s is not loopback and there is no TLS: set tls.cert and tls.key, or insecure: true", c.Listen.HTTP)
	}
	if !Loopback(c.Listen.Operator) {
		if c.Operator.Cert == "" && !c.Insecure {
			p.add("listen.operator", "%s is not loopback and there is no TLS: set operator.cert and operator.key, or insecure: true", c.Listen.Operator)
		}
		if c.Operator.ClientCA == "" && c.Operator.TokensFile == "" {
			p.add("listen.operator", "%s is not loopback, so operators must prove who they are: set operator.client_ca or operator.tokens_file", c.Listen.Operator)
		}
	}
	if c.Listen.Pprof != "" && !Loopback(c.Listen.Pprof) {
		p.add("listen.pprof", "%s is not loopback: profiles show memory, so keep them on 127.0.0.1", c.Listen.Pprof)
	}
	for _, caller := range c.Trust.Callers {
		_, errCIDR := netip.ParsePrefix(caller)
		_, errIP := netip.ParseAddr(caller)
		switch {
		case errCIDR == nil || errIP == nil:
		case !isCertificateName(caller):
			p.add("trust.callers", "%q is neither a CIDR nor a certificate's name: write such as 10.0.0.0/8, web.example.com or spiffe://example.com/web", caller)
		case c.TLS.ClientCA == "":
			p.add("trust.callers", "%q is a certificate's name, but nothing asks for certificates: set tls.client_ca, or write a CIDR", caller)
		}
	}
	for _, f := range []struct {
		path  string
		value int
	}{{"server.max_connections", c.Server.MaxConnections}, {"server.max_streams", c.Server.MaxStreams}} {
		if f.value < 1 || f.value > 1<<20 {
			p.add(f.path, "%d is out of bounds: write 1 to %d", f.value, 1<<20)
		}
	}
	between(p, "server.max_connection_age", c.Server.MaxConnectionAge, time.Minute, 24*time.Hour)
}

// isCertificateName tells a DNS or URI name from a mistyped CIDR, which would be a name that no certificate has.
func isCertificateName(s string) bool {
	if u, err := url.Parse(s); err == nil && u.Scheme != "" && u.Host != "" {
		return true
	}
	return strings.ContainsFunc(s, unicode.IsLetter) && !strings.ContainsAny(s, "/: ")
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func pair(p *problems, section, cert, key string) {
	if (cert == "") != (key == "") {
		p.add(section, "cert and key go together: set both or none")
	}
}

// Loopback tells whether host:port surely stays on this machine.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true // said already
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func between(p *problems, path string, d Duration, low, high time.Duration) {
	if d.Std() < low || d.Std() > high {
		p.add(path, "%v is out of bounds: write %v to %v", d.Std(), low, high)
	}
}

func (c *Config) validateQueue(p *problems) {
	if c.Queue.Engine != "embedded" {
		p.add("queue.engine", "%q is unknown: write embedded", c.Queue.Engine)
	}
	if c.Queue.MaxBytes < 1<<20 {
		p.add("queue.max_bytes", "is too small to hold a storm: write at least 1MiB")
	}
	if c.Queue.DiskReserve < 1<<20 {
		p.add("queue.disk_reserve", "leaves nothing for accepted work to finish from: write at least 1MiB")
	}
	between(p, "queue.retention", c.Queue.Retention, time.Minute, 30*24*time.Hour)
	between(p, "queue.max_start_wait", c.Queue.MaxStartWait, time.Minute, 7*24*time.Hour)
	between(p, "queue.max_sealed_wait", c.Queue.MaxSealedWait, time.Minute, 7*24*time.Hour)
}

func (c *Config) validateStore(p *problems) {
	s := c.Store
	switch {
	case s.none():
		p.add("store", "names no store: add sqlite: {path: …}, grpc: {address: …} or postgres: {url: …}")
	case len(s.named()) == 2:
		p.add("store", "names two stores, %s: keep one", strings.Join(s.named(), " and "))
	case len(s.named()) > 2:
		p.add("store", "names three stores: keep one")
	}
	c.validatePostgres(p)
	if g := s.GRPC; g != nil {
		if _, port, err := net.SplitHostPort(g.Address); err != nil || !isPort(port) {
			p.add("store.grpc.address", "%q is not host:port: write such as \"127.0.0.1:7700\"", g.Address)
		}
		pair(p, "store.grpc", g.Cert, g.Key)
		if g.Insecure && (g.CA != "" || g.Cert != "") {
			p.add("store.grpc.insecure", "turns TLS off, but ca or cert is set: keep one")
		}
	}
	if !(s.Headroom >= 0 && s.Headroom <= 0.9) {
		p.add("store.headroom", "%v is out of bounds: write 0 to 0.9", s.Headroom)
	}
	validatePace(p, "store.pace", s.Pace, s.connections(), "store.postgres.max_connections")
	between(p, "store.timeout", s.Timeout, 10*time.Millisecond, 5*time.Minute)
}

// validatePostgres puts what the package says under the key that it names.
func (c *Config) validatePostgres(p *problems) {
	if c.Store.Postgres == nil {
		return
	}
	if err := c.PostgresStore().Validate(); err != nil {
		field, problem, _ := strings.Cut(err.Error(), ": ")
		if field == "call_timeout" {
			return // it is store.timeout, which has bounds of its own
		}
		p.add("store.postgres."+field, "%s", problem)
	}
}

// validatePace knows how many connections there are, 0 for no bound, and the key that says so.
func validatePace(p *problems, path string, set Pace, connections int, bound string) {
	if set.Concurrency < 0 || set.Concurrency > pace.MaxConcurrency {
		p.add(path+".concurrency", "%d is out of bounds: write 1 to %d, or 0 to find it by measuring", set.Concurrency, pace.MaxConcurrency)
	}
	if set.Min < 1 || set.Min > pace.MaxConcurrency {
		p.add(path+".min_concurrency", "%d is out of bounds: write 1 to %d", set.Min, pace.MaxConcurrency)
	} else if connections > 0 && set.Min > connections && set.Concurrency == 0 {
		p.add(path+".min_concurrency", "%d is more than the %d connections: raise %s, or write less", set.Min, connections, bound)
	}
	switch {
	case set.Max < 0 || set.Max > pace.MaxConcurrency:
		p.add(path+".max_concurrency", "%d is out of bounds: write 1 to %d, or leave it out", set.Max, pace.MaxConcurrency)
	case set.Max > 0 && set.Max < set.Min:
		p.add(path+".max_concurrency", "%d is under the min_concurrency of %d", set.Max, set.Min)
	case set.Concurrency > 0 && (set.Max > 0 || set.Min > 1):
		p.add(path+".concurrency", "%d fixes it, so min_concurrency and max_concurrency have no effect: leave them out, or this", set.Concurrency)
	}
	if !(set.Rate >= 0) || math.IsInf(set.Rate, 1) {
		p.add(path+".rate", "%v is no rate: write items a second, or 0 for no bound", set.Rate)
	}
	if set.Batch < 0 {
		p.add(path+".batch", "%d is negative: write items a call, or 0 to leave it open", set.Batch)
	}
	if !(set.Floor > 0) {
		p.add(path+".floor", "%v is not positive: write items a second", set.Floor)
	}
}

func (c *Config) validateMail(p *problems) {
	m := c.Mail
	switch {
	case m.none():
		p.add("mail", "names no provider: add maildir: {path: …} or smtp: {address: …}")
	case m.Maildir != nil && m.SMTP != nil:
		p.add("mail", "names two providers, maildir and smtp: keep one")
	}
	u, err := url.Parse(m.BaseURL)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		p.add("mail.base_url", "%q is not a base URL: write such as https://reset.example.com", m.BaseURL)
	case u.Scheme == "https":
	case u.Scheme == "http" && Loopback(net.JoinHostPort(u.Hostname(), "0")):
	default:
		p.add("mail.base_url", "%q would mail tokens over an open line: write https", m.BaseURL)
	}
	if err == nil {
		if err := c.Templates().Validate(); err != nil {
			p.add("mail", "%v", err)
		}
	}
	if err := (maildir.Config{Path: "any", From: m.From}).Validate(); err != nil {
		p.add("mail.from", "%v", err)
	}
	if m.SMTP != nil {
		if err := c.Relay().Validate(); err != nil {
			p.add("mail.smtp", "%v", err)
		}
	}
	validatePace(p, "mail.pace", m.Pace, m.connections(), "mail.smtp.connections")
	if m.Pace.Batch > 1 {
		p.add("mail.pace.batch", "%d has no effect, a provider takes one mail a call: leave it out", m.Pace.Batch)
	}
	for _, f := range []struct {
		path string
		rate float64
	}{{"mail.interactive.rate", m.Interactive.Rate}, {"mail.bulk.rate", m.Bulk.Rate}} {
		if !(f.rate >= 0) || math.IsInf(f.rate, 1) {
			p.add(f.path, "%v is no rate: write mails a second, or 0 for no bound of its own", f.rate)
		}
	}
	if !(m.Bulk.Share > 0 && m.Bulk.Share <= 1) {
		p.add("mail.bulk.share", "%v is out of bounds: write a share over 0 and up to 1", m.Bulk.Share)
	}
	between(p, "mail.timeout", m.Timeout, 100*time.Millisecond, 10*time.Minute)
	if m.AccountCap < 1 {
		p.add("mail.account_per_day", "%d is out of bounds: write at least 1", m.AccountCap)
	}
}

// validateSteps is for what shares out and what sheds.
func (c *Config) validateSteps(p *problems) {
	for _, l := range []struct {
		name string
		lane Lane
	}{{"start", c.Lanes.Start}, {"mail", c.Lanes.Mail}, {"hash", c.Lanes.Hash}, {"apply", c.Lanes.Apply}, {"revoke", c.Lanes.Revoke}} {
		if w := l.lane.Weight; !(w >= 0.1 && w <= 1000) {
			p.add("lanes."+l.name+".weight", "%v is out of bounds: write 0.1 to 1000", w)
		}
	}
	b := c.Brownout
	for _, f := range []struct {
		path string
		list []float64
	}{
		{"wait_share", b.WaitShare}, {"queue_fill", b.QueueFill}, {"disk_fill", b.DiskFill}, {"heap_fill", b.HeapFill},
	} {
		validateLevels(p, "brownout."+f.path, f.list, "[0.6, 0.75, 0.85, 0.95]")
	}
	delays := make([]time.Duration, len(b.CPUDelay))
	for i, d := range b.CPUDelay {
		delays[i] = d.Std()
	}
	validateLevels(p, "brownout.cpu_delay", delays, "[5ms, 50ms, 250ms, 0s]")
	between(p, "brownout.wait", b.Wait, 100*time.Millisecond, 24*time.Hour)
	between(p, "brownout.hold", b.Hold, time.Second, time.Hour)
	if !(b.Release > 0 && b.Release <= 1) {
		p.add("brownout.release", "%v is out of bounds: write a share over 0 and up to 1", b.Release)
	}
}

// validateLevels checks values for the brownout levels: one each, rising, and not all 0.
func validateLevels[T float64 | time.Duration](p *problems, path string, list []T, example string) {
	if len(list) != admission.MaxLevel {
		p.add(path, "has %d values: write one for each of the levels 1, 2, 3 and 4, such as %s; 0 for never", len(list), example)
		return
	}
	var last T
	for i, at := range list {
		switch {
		case at == 0:
		case at <= last || math.IsNaN(float64(at)) || math.IsInf(float64(at), 1):
			p.add(path, "%v for level %d is not over the %v before it: write rising values, 0 for never", at, i+1, last)
		default:
			last = at
		}
	}
	if last == 0 {
		p.add(path, "never asks for a level: write at least one value over 0")
	}
}

func (c *Config) validateRest(p *problems) {
	for _, rule := range c.Admission.DryRun {
		if !slices.Contains([]string{"global", "client", "level"}, rule) {
			p.add("admission.dry_run", "%q is no rule: write global, client or level", rule)
		}
	}
	for _, b := range []struct {
		path   string
		bucket Bucket
	}{{"admission.global", c.Admission.Global}, {"admission.client", c.Admission.Client}, {"admission.identifier", c.Admission.Identifier}} {
		if b.bucket.Burst < 1 {
			p.add(b.path+".burst", "%d lets nothing in: write at least 1", b.bucket.Burst)
		}
	}
	if c.Admission.MaxKeys < 1 {
		p.add("admission.max_keys", "%d is out of bounds: write at least 1", c.Admission.MaxKeys)
	} else if err := c.Admit().Validate(); err != nil {
		p.add("admission", "%v", err)
	}
	if c.Hash.Time < 1 {
		p.add("hash.time", "%d is out of bounds: write at least 1", c.Hash.Time)
	}
	if c.Hash.Memory < 1<<10 {
		p.add("hash.memory", "is out of bounds: write such as 19MiB")
	}
	if err := c.HashPool().Validate(); err != nil {
		p.add("hash", "%v", err)
	}
	between(p, "token.ttl", c.Token.TTL, time.Minute, 72*time.Hour)
	between(p, "reset.promise", c.Reset.Promise, time.Second, 24*time.Hour)
	if c.Reset.SignOut != "everywhere" && c.Reset.SignOut != "keep" {
		p.add("reset.sign_out", "%q is unknown: write everywhere or keep", c.Reset.SignOut)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		p.add("log.level", "%q is unknown: write debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		p.add("log.format", "%q is unknown: write text or json", c.Log.Format)
	}
	if err := c.Decide().Validate(); err != nil {
		p.add("log.decisions", "%s", strings.TrimPrefix(err.Error(), "reasons: "))
	}
	c.validateTrace(p)
	between(p, "shutdown.grace", c.Shutdown.Grace, time.Second, time.Hour)
}

// validateTrace looks at the share without an endpoint too: it is what will be once there is one.
func (c *Config) validateTrace(p *problems) {
	cfg := c.Traces()
	if cfg.Endpoint == "" {
		if c.Trace.Insecure || c.Trace.CA != "" {
			p.add("trace.endpoint", "is empty, so insecure and ca have no effect: write the collector's host:port, or leave them out")
		}
		cfg.Endpoint = "localhost:4317"
		cfg.Insecure, cfg.CAFile = false, ""
	}
	if err := cfg.Validate(); err != nil {
		field, problem, _ := strings.Cut(err.Error(), ": ")
		p.add("trace."+field, "%s", problem)
	}
}
