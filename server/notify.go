package server

import (
	"path/filepath"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/webhook"
)

// Notify says whom to tell of outages that last. The zero value: nobody.
type Notify struct {
	URL    string        // it may hold a token, and is never logged
	Secret string        // notifications are signed with it; after "whsec_" in base64
	After  time.Duration // of an outage before anybody is told
}

// notifiedFile remembers what was told.
const notifiedFile = "notified.json"

// notifier tells of the outages of an engine, if that is wanted.
func (c *Config) notifier(engine morningai.Engine) (*webhook.Sender, error) {
	if c.Notify.URL == "" {
		return nil, nil
	}
	fleet, ok := engine.(morningai.Fleet)
	if !ok {
		return nil, morningai.InvalidInput("open", morningai.FieldError{Location: "notify url", Message: "needs a server on Redis with a journal: nobody else has reports of outages"})
	}
	return webhook.New(webhook.Config{URL: c.Notify.URL, Secret: c.Notify.Secret, After: c.Notify.After,
		State: filepath.Join(c.Data, notifiedFile), Incidents: fleet.Incidents, Logger: c.Logger})
}
