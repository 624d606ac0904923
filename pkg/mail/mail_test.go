package mail_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log/slog"
	stdmail "net/mail"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/mail"
)

func newTemplates(t testing.TB, config mail.TemplateConfig) *mail.Templates {
	t.Helper()
	templates, err := mail.NewTemplates(config)
	if err != nil {
		t.Fatal(err)
	}
	return templates
}

func example() mail.TemplateConfig {
	return mail.TemplateConfig{BaseURL: "https://reset.example.com", SiteName: "Example & Söhne"}
}

var link = regexp.MustCompile(`[a-z]+://[^\s"<>]+`)

func TestLinkMail(t *testing.T) {
	t.Parallel()
	m := newTemplates(t, example()).Link("job-1", "ada@example.com", "en-GB", "tok_EN-1.x", time.Hour)
	const want = "https://reset.example.com/complete#token=tok_EN-1.x"
	if m.ID != "job-1" || m.To != "ada@example.com" || m.Locale != "en" {
		t.Errorf("id %q, to %q, locale %q", m.ID, m.To, m.Locale)
	}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	if got := link.FindAllString(m.Text, -1); len(got) != 1 || got[0] != want {
		t.Errorf("links of the text: %v", got)
	}
	// The HTML shows the very address that it leads to.
	if got := link.FindAllString(html.UnescapeString(m.HTML), -1); len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("links of the HTML: %v", got)
	}
	if strings.Count(m.HTML, "<a ") != 1 || strings.Contains(m.HTML, "<img") || strings.Contains(m.HTML, "<script") {
		t.Errorf("HTML %s", m.HTML)
	}
	for name, text := range map[string]string{"subject": m.Subject, "text": m.Text, "html": html.UnescapeString(m.HTML)} {
		if !strings.Contains(text, "Example & Söhne") {
			t.Errorf("the %s does not name the site: %s", name, text)
		}
		if strings.Contains(strings.ToLower(text), "urgent") || strings.Contains(text, "!") && name != "html" {
			t.Errorf("the %s is in a hurry: %s", name, text)
		}
	}
	for _, part := range []string{m.Text, m.HTML} {
		for _, want := range []string{"for 60 minutes", "If you did not ask for this"} {
			if !strings.Contains(part, want) {
				t.Errorf("no %q in %s", want, part)
			}
		}
	}
	if strings.Contains(m.Subject, "tok_EN") {
		t.Error("the token is in the subject")
	}
}

func TestConfirmationMailHasNoLink(t *testing.T) {
	t.Parallel()
	when := time.Date(2026, 3, 1, 13, 4, 5, 0, time.FixedZone("", 3600))
	m := newTemplates(t, example()).Confirmation("job-2", "ada@example.com", "en", when)
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	for _, part := range []string{m.Text, m.HTML} {
		if strings.Contains(part, "://") || strings.Contains(part, "<a ") || strings.Contains(part, "reset.example.com") {
			t.Errorf("a link in %s", part)
		}
		for _, want := range []string{"2026-03-01 12:04 UTC", "If you did not"} {
			if !strings.Contains(part, want) {
				t.Errorf("no %q in %s", want, part)
			}
		}
	}
}

func TestValidity(t *testing.T) {
	t.Parallel()
	templates := newTemplates(t, example())
	for expire, want := range map[time.Duration]string{
		0: "for 1 minute.", time.Minute: "for 1 minute.", 15*time.Minute + 59*time.Second: "for 15 minutes.",
		119 * time.Minute: "for 119 minutes.", 2 * time.Hour: "for 2 hours.", 72*time.Hour + time.Minute: "for 72 hours.",
	} {
		if m := templates.Link("i", "a@b.example", "", "t", expire); !strings.Contains(m.Text, want) || !strings.Contains(m.HTML, want) {
			t.Errorf("%v: %s", expire, m.Text)
		}
	}
}

func TestUnknownLocaleFallsBack(t *testing.T) {
	t.Parallel()
	templates := newTemplates(t, example())
	for _, locale := range []string{"", "en", "en_US", "zz", "de-AT", "tlh", "not a tag", "\xff", strings.Repeat("x", 1<<16), "../../etc", "en-\r\nX: y"} {
		m := templates.Link("i", "a@b.example", locale, "t", time.Hour)
		if m.Locale != "en" || !strings.HasPrefix(m.Text, "Hello") {
			t.Errorf("%.20q: %s", locale, m.Locale)
		}
	}
}

// Nothing that comes from outside can end a header or break out of the HTML.
func TestInjection(t *testing.T) {
	t.Parallel()
	templates := newTemplates(t, mail.TemplateConfig{BaseURL: "https://reset.example.com", SiteName: `<b>"Site"</b>`})
	m := templates.Link("i", "a@b.example\r\nBcc: c@d.example", "en", `x"><script>alert(1)</script>`, time.Hour)
	if strings.Contains(m.HTML, "<script") || strings.Contains(m.HTML, "<b>") {
		t.Errorf("HTML %s", m.HTML)
	}
	if strings.ContainsAny(m.Subject, "\r\n") {
		t.Errorf("subject %q", m.Subject)
	}
	if err := m.Validate(); !errors.Is(err, mail.ErrRefused) || strings.Contains(err.Error(), "b.example") {
		t.Error(err)
	}
}

func TestTemplateConfigNamesTheField(t *testing.T) {
	t.Parallel()
	for field, bad := range map[string][]mail.TemplateConfig{
		"base_url": {
			{}, {BaseURL: "reset.example.com"}, {BaseURL: "http://reset.example.com"}, {BaseURL: "ftp://localhost"}, {BaseURL: "https://"},
			{BaseURL: "https://user@example.com"}, {BaseURL: "https://example.com?x"}, {BaseURL: "https://example.com/#x"}, {BaseURL: "javascript:alert(1)"},
			{BaseURL: "https://exa\nmple.com"}, {BaseURL: "https://example.com/a b"}, {BaseURL: "http://127.0.0.1.example.com"}, {BaseURL: "https://:443"},
		},
		"site_name": {
			{BaseURL: "https://example.com", SiteName: "a\r\nBcc: b"}, {BaseURL: "https://example.com", SiteName: strings.Repeat("x", 61)},
			{BaseURL: "https://example.com", SiteName: " "},
		},
	} {
		for _, config := range bad {
			if err := config.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+":") {
				t.Errorf("%+v: %v", config, err)
			}
			if _, err := mail.NewTemplates(config); err == nil {
				t.Errorf("%+v was taken", config)
			}
		}
	}
	for base, want := range map[string]string{
		"https://reset.example.com/":       "https://reset.example.com/complete#token=t",
		"https://example.com:8443/a/reset": "https://example.com:8443/a/reset/complete#token=t",
		"http://localhost:7602":            "http://localhost:7602/complete#token=t",
		"http://127.0.0.1:7602":            "http://127.0.0.1:7602/complete#token=t",
		"http://[::1]:7602":                "http://[::1]:7602/complete#token=t",
	} {
		if m := newTemplates(t, mail.TemplateConfig{BaseURL: base}).Link("i", "a@b.example", "", "t", time.Hour); !strings.Contains(m.Text, "\n"+want+"\n") {
			t.Errorf("%s: %s", base, m.Text)
		}
	}
}

func TestMessageRedactsItself(t *testing.T) {
	t.Parallel()
	m := newTemplates(t, example()).Link("job-1", "ada@example.com", "en", "CANARY", time.Hour)
	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%o"} {
		fmt.Fprintf(&printed, verb+verb+verb, m, &m, []mail.Message{m})
	}
	if err := json.NewEncoder(&printed).Encode(map[string]mail.Message{"m": m}); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&printed, nil)).Info("x", "m", m, "p", &m, "l", []mail.Message{m})
	slog.New(slog.NewTextHandler(&printed, nil)).Info("x", "m", m, "p", &m, "l", []mail.Message{m})
	for _, secret := range []string{"CANARY", "ada@example.com", fmt.Sprintf("%x", "CANARY")} {
		if strings.Contains(printed.String(), secret) {
			t.Errorf("%s in %s", secret, printed.String())
		}
	}
}

// FuzzValidate checks that an address that passes is one mailbox and one header line, whatever a store answers with.
func FuzzValidate(f *testing.F) {
	for _, seed := range []string{"ada@example.com", "a@b\r\nBcc: c@d", "\"a b\"@example.com", "ü@example.com", "a@[127.0.0.1]", "A <a@b>", "a@b, c@d", "@", "\xff@b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, to string) {
		m := mail.Message{ID: "x", To: to}
		if err := m.Validate(); err != nil {
			if !errors.Is(err, mail.ErrRefused) {
				t.Error(err)
			}
			return
		}
		list, err := stdmail.ParseAddressList(to)
		if err != nil || len(list) != 1 || list[0].Name != "" || strings.ContainsAny(to, "\r\n\x00") {
			t.Errorf("%q is %v, %v", to, list, err)
		}
	})
}

func ExampleNewTemplates() {
	templates, err := mail.NewTemplates(mail.TemplateConfig{BaseURL: "https://reset.example.com", SiteName: "Example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(templates.Link("job-1", "ada@example.com", "en", "TOKEN", time.Hour).Text)
	// Output:
	// Hello,
	//
	// Somebody, most likely you, asked to reset the password of your Example account.
	// To choose a new password, open this address:
	//
	// https://reset.example.com/complete#token=TOKEN
	//
	// It works once, for 60 minutes. If it has stopped working, ask for a new one.
	//
	// If you did not ask for this, you need not do anything: your password stays as it is.
	// Nobody from Example will ask you for this link or for your password.
	//
	// Example
}
