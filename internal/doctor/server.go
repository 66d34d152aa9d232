package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/address"
	"github.com/RC918/morningai/internal/httpapi"
)

// askTime bounds each question to a server.
const askTime = 3 * time.Second

// serverLook is what is known of the server.
type serverLook struct {
	note   *address.Note // of the data folder; nil without one
	client *client.Client
	health *client.Health // nil if it did not answer
}

func (s *serverLook) close() {
	if s.client != nil {
		s.client.Close()
	}
}

func (s *serverLook) answers() bool { return s.health != nil }

// lookAtServer finds the server: the one that is named, the one on the data
// folder, or the one at the guessed address.
func (d *doctor) lookAtServer(ctx context.Context) *serverLook {
	s := &serverLook{}
	at, token := d.Server, d.Token
	note, err := address.Read(d.Data)
	switch {
	case err == nil:
		s.note = &note
		if at == "" {
			at = note.URL
		}
	case !errors.Is(err, fs.ErrNotExist) && at == "":
		d.wrong(serverReachable, err.Error(), "", "rm "+filepath.Join(d.Data, address.FileName))
		d.skip("no server was found", serverHealth, serverVersion, serverBackups)
		return s
	}
	guessed := at == "" && d.Guess != ""
	if guessed {
		at, token = d.Guess, ""
	}
	if at == "" {
		d.skip("no server runs on the data folder "+d.Data, serverReachable, serverHealth, serverVersion, serverBackups)
		return s
	}
	if s.client, err = client.New(at, client.WithToken(token)); err != nil {
		detail, hint := worded(err)
		d.wrong(serverReachable, detail, hint, "morningai doctor --server http://127.0.0.1:8080")
		d.skip("no server was found", serverHealth, serverVersion, serverBackups)
		return s
	}
	d.ask(ctx, s, at, guessed)
	return s
}

func (d *doctor) ask(ctx context.Context, s *serverLook, at string, guessed bool) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	live, err := s.client.Live(ctx)
	switch {
	case err != nil && guessed:
		d.skip("no server runs on the data folder "+d.Data+" or answers at "+at, serverReachable, serverHealth, serverVersion, serverBackups)
		return
	case err != nil && d.Server == "":
		d.wrong(serverReachable, fmt.Sprintf("process %d, which left the address %s in the data folder, does not answer there", s.note.PID, at),
			"the server has ended without a stop, or hangs; what it has accepted is in the data folder and goes on at its next start",
			"systemctl restart morningai, or morningai serve --data "+d.Data)
	case err != nil:
		detail, _ := worded(err)
		d.wrong(serverReachable, at+": "+detail, "the server does not run, or is not reached from here", "morningai serve --data "+d.Data)
	case d.Server == "" && !guessed && live.Instance != s.note.Instance:
		d.wrong(serverReachable, "another server answers at "+at+", which one has left in the data folder",
			"the server of this folder has ended without a stop, and another one has its address", "morningai serve --data "+d.Data)
	default:
		d.answered(ctx, s, at, live)
		return
	}
	d.skip("the server was not reached", serverHealth, serverVersion, serverBackups)
}

func (d *doctor) answered(ctx context.Context, s *serverLook, at string, live client.Live) {
	d.ok(serverReachable, "answers at "+at)
	if live.Version != d.Version {
		d.wrong(serverVersion, fmt.Sprintf("the server is %s, this program %s", live.Version, d.Version),
			"what one of them knows the other may not", "systemctl restart morningai")
	} else {
		d.ok(serverVersion, live.Version)
	}
	h, err := s.client.Health(ctx)
	if err != nil {
		detail, hint := worded(err)
		d.wrong(serverHealth, detail, "it answers, but cannot say how it is: "+hint, "morningai health --server "+at)
		d.skip("the server does not say", serverBackups)
		return
	}
	s.health, d.redis = &h, h.Engine
	d.backups(h.Backups)
	seen := fmt.Sprintf("%s (engine: %s)", h.Status, h.Engine)
	switch {
	case h.Status == "down" && h.Engine == "redis" && h.Journal == nil:
		d.wrong(serverHealth, seen+": "+h.Redis.Cause, "no task is accepted: "+h.Redis.Hint, "morningai doctor --redis URL")
	case h.Status == "down":
		cause, hint := h.Storage.Cause, h.Storage.Hint
		if h.Journal != nil {
			cause, hint = h.Journal.Cause, h.Journal.Hint
		}
		d.wrong(serverHealth, seen+": "+cause, "no task is accepted: "+hint, "df -h "+d.Data)
	case h.Status != "ok":
		d.wrong(serverHealth, seen+": "+h.Redis.Cause, "tasks are accepted and run by this server alone until Redis is back: "+h.Redis.Hint, "morningai doctor --redis URL")
	case h.Journal != nil && len(h.Journal.Unprotected) > 0:
		d.wrong(serverHealth, fmt.Sprintf("%s; without a journal: %v", seen, h.Journal.Unprotected),
			"what those servers accept is lost if Redis loses it", "start them without --no-journal")
	default:
		d.ok(serverHealth, fmt.Sprintf("%s, %d workers", seen, h.Workers))
	}
}

// backups looks at those that the server makes by itself.
func (d *doctor) backups(b *client.Backups) {
	switch {
	case b == nil:
		d.skip("the server makes no backups by itself (--backup-dir)", serverBackups)
	case b.Status == "failing":
		d.wrong(serverBackups, "the last one failed: "+b.Cause, "the newest backup gets older, or old ones stay: "+b.Hint, "morningai backup create FILE; df -h")
	case b.LastAt.IsZero():
		d.ok(serverBackups, "the first one is still to be made")
	default:
		d.ok(serverBackups, fmt.Sprintf("%s, %s old", b.File, time.Since(b.LastAt).Round(time.Second)))
	}
}

// lookAtAccess judges who may do what: as the server on the data folder was
// started, or as one would be with these settings.
func (d *doctor) lookAtAccess(s *serverLook) {
	listen, file, open := d.Listen, d.TokenFile, d.Insecure
	if s.note != nil && s.note.Listen != "" {
		listen, file, open = s.note.Listen, s.note.TokenFile, s.note.Open
	}
	const fix = "(umask 077; echo \"admin $(openssl rand -hex 24) oncall\" > tokens); morningai serve --token-file tokens"
	if file == "" {
		if httpapi.CheckListen(listen, nil, false) == nil {
			d.ok(serverAccess, "listens on "+listen+", this machine only, without tokens")
			return
		}
		if open {
			d.wrong(serverAccess, "listens on "+listen+" without tokens (--insecure)", "everyone who can reach the address may do everything", fix)
			return
		}
		d.wrong(serverAccess, listen+" without tokens", "the server refuses to start: everyone who can reach the address could do everything", fix)
		return
	}
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		d.unknown(serverAccess, "the tokens come from "+file+", which is read once and is no file", "")
		return
	}
	tokens, err := httpapi.LoadTokens(file)
	if err != nil {
		detail, hint := worded(err)
		if e, ok := errors.AsType[*morningai.Error](err); ok && e.Err != nil {
			detail += ": " + e.Err.Error()
		}
		d.wrong(serverAccess, detail, "the server refuses to start with it: "+hint, "ls -l "+file)
		return
	}
	if len(tokens.Warnings) > 0 {
		d.wrong(serverAccess, tokens.Warnings[0], "a token that others can read or guess lets them do what it allows", "chmod 600 "+file+"; openssl rand -hex 24")
		return
	}
	d.ok(serverAccess, "listens on "+listen+", tokens from "+file)
}
