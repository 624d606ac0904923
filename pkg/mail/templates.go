package mail

import (
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"net/netip"
	"net/url"
	"path"
	"strings"
	texttemplate "text/template"
	"time"

	"golang.org/x/text/language"
)

//go:embed templates
var files embed.FS

// TemplateConfig says what the mails are about.
type TemplateConfig struct {
	// BaseURL is where the site's reset page is, without a trailing slash: "https://reset.example.com". https but for
	// loopback; no user, query or fragment. Required.
	BaseURL string
	// SiteName is the name by which people know the site, at most 60 characters. Default: the base URL's host.
	SiteName string
}

// WithDefaults fills in what is zero.
func (c TemplateConfig) WithDefaults() TemplateConfig {
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	if u, err := url.Parse(c.BaseURL); err == nil && c.SiteName == "" {
		c.SiteName = u.Hostname()
	}
	return c
}

// Validate names the first field that cannot be used.
func (c TemplateConfig) Validate() error {
	c = c.WithDefaults()
	u, err := url.Parse(c.BaseURL)
	switch {
	case c.BaseURL == "":
		return errors.New("base_url: is required")
	case err != nil || u.Hostname() == "" || !printable(c.BaseURL):
		return errors.New("base_url: is not an absolute URL")
	case u.User != nil || strings.ContainsAny(c.BaseURL, "?# "):
		return errors.New("base_url: must not have a user, a query, a fragment or a space")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return errors.New("base_url: must be https outside loopback: the link carries a token")
	case strings.TrimSpace(c.SiteName) == "" || len([]rune(c.SiteName)) > 60 || !printable(c.SiteName):
		return errors.New("site_name: must have 1 to 60 printable characters")
	}
	return nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && a.IsLoopback())
}

// Templates makes the two mails. It is safe for concurrent use.
type Templates struct {
	config  TemplateConfig
	locales []string // of texts, in matcher's order
	matcher language.Matcher
	text    *texttemplate.Template
	html    *htmltemplate.Template
}

// NewTemplates parses the texts and tries each once, so that Link and Confirmation cannot fail.
func NewTemplates(config TemplateConfig) (*Templates, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	t := &Templates{config: config, text: texttemplate.New(""), html: htmltemplate.New("")}
	dirs, err := files.ReadDir("templates")
	if err != nil {
		return nil, fmt.Errorf("mail: templates: %w", err)
	}
	var tags []language.Tag
	for _, dir := range dirs {
		tag, err := language.Parse(dir.Name())
		if err != nil {
			return nil, fmt.Errorf("mail: templates: %s: %w", dir.Name(), err)
		}
		if err := t.parse(dir.Name()); err != nil {
			return nil, err
		}
		if dir.Name() == fallback { // the matcher answers with its first tag when nothing fits
			tags, t.locales = append([]language.Tag{tag}, tags...), append([]string{dir.Name()}, t.locales...)
			continue
		}
		tags, t.locales = append(tags, tag), append(t.locales, dir.Name())
	}
	t.matcher = language.NewMatcher(tags)
	for _, locale := range t.locales {
		for _, kind := range []string{"link", "confirmation"} {
			if _, err := t.render(kind, locale, data{}); err != nil {
				return nil, fmt.Errorf("mail: templates: %w", err)
			}
		}
	}
	return t, nil
}

// fallback is the language of last resort.
const fallback = "en"

func (t *Templates) parse(locale string) error {
	entries, err := files.ReadDir(path.Join("templates", locale))
	if err != nil {
		return fmt.Errorf("mail: templates: %w", err)
	}
	for _, entry := range entries {
		name := path.Join(locale, entry.Name())
		content, err := files.ReadFile(path.Join("templates", name))
		if err != nil {
			return fmt.Errorf("mail: templates: %w", err)
		}
		if strings.HasSuffix(name, ".html") {
			_, err = t.html.New(name).Parse(string(content))
		} else {
			_, err = t.text.New(name).Parse(string(content))
		}
		if err != nil {
			return fmt.Errorf("mail: templates: %s: %w", name, err)
		}
	}
	return nil
}

type data struct {
	Site, Link, Time string
	Hours, Minutes   int // how long the link works: one of them is 0
}

// Link makes the mail that carries a reset link, which works for expire from now (told rounded down to minutes, or to
// hours from two hours on).
func (t *Templates) Link(id, to, locale, token string, expire time.Duration) Message {
	d := data{Link: t.config.BaseURL + "/complete#token=" + url.QueryEscape(token)}
	if expire >= 2*time.Hour {
		d.Hours = int(expire / time.Hour)
	} else {
		d.Minutes = max(1, int(expire/time.Minute))
	}
	return t.message("link", id, to, locale, d)
}

// Confirmation makes the mail that tells the owner of a changed password; it carries no link.
func (t *Templates) Confirmation(id, to, locale string, when time.Time) Message {
	return t.message("confirmation", id, to, locale, data{Time: when.UTC().Format("2006-01-02 15:04 UTC")})
}

func (t *Templates) message(kind, id, to, locale string, d data) Message {
	_, i, _ := t.matcher.Match(language.Make(locale)) // an unknown or malformed tag matches the fallback
	m, err := t.render(kind, t.locales[i], d)
	if err != nil {
		// NewTemplates has rendered every one of them, and they hold nothing but strings and numbers.
		panic("mail: a template that has been tried fails: " + err.Error())
	}
	m.ID, m.To = id, to
	return m
}

func (t *Templates) render(kind, locale string, d data) (Message, error) {
	d.Site = t.config.SiteName
	var subject, text, html strings.Builder
	name := locale + "/" + kind
	err := errors.Join(
		t.text.ExecuteTemplate(&subject, name+".subject", d),
		t.text.ExecuteTemplate(&text, name+".txt", d),
		t.html.ExecuteTemplate(&html, name+".html", d),
	)
	return Message{Subject: strings.TrimSpace(subject.String()), Text: text.String(), HTML: html.String(), Locale: locale}, err
}
