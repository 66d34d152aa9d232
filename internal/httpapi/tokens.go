package httpapi

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/RC918/morningai"
)

// Scope is what a token may do. Each scope includes the ones below it.
type Scope uint8

// The scopes, smallest first. Routes of scopeOpen need no token.
const (
	scopeOpen   Scope = iota
	ScopeRead         // see tasks, queues and counts
	ScopeSubmit       // and enqueue
	ScopeAdmin        // and change tasks and queues
)

var scopeNames = []string{"open", "read", "submit", "admin"}

// String returns the name that token files use.
func (s Scope) String() string { return scopeNames[s] }

// Tokens are the callers that a server knows. It holds digests only: what is
// printed, logged or left in memory does not open a door.
type Tokens struct {
	mu      sync.RWMutex
	entries []token
	// Warnings say what is unwise about the file, in sentences for the log.
	Warnings []string
}

type token struct {
	digest [sha256.Size]byte
	name   string
	scope  Scope
}

const (
	maxTokenFile = 1 << 20
	pipeTime     = 10 * time.Second // for a token file that is a pipe to say all
)

// LoadTokens reads a file of lines "SCOPE TOKEN [NAME]" with the scopes read,
// submit and admin; empty lines and those that begin with # are passed over. A
// token without a name is named after its digest; tokens of one name share
// their idempotency keys, so that a token can be replaced. A pipe may stand in
// for the file; it has 10 seconds to be written and closed. Errors name the line
// and never show what is in it.
func LoadTokens(path string) (*Tokens, error) {
	// Judged before it is opened: opening a device may do anything. A pipe is
	// what the shell's <(command) and /dev/stdin are.
	info, err := os.Stat(path)
	if err != nil {
		return nil, tokenFileError("cannot be read", err)
	}
	pipe := info.Mode()&fs.ModeNamedPipe != 0
	if !pipe && !info.Mode().IsRegular() {
		return nil, tokenFileError("is neither a file nor a pipe", nil)
	}
	// A pipe that nobody writes to would block here for ever: it is empty instead.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, tokenFileError("cannot be read", err)
	}
	defer f.Close()
	if pipe {
		if err := f.SetReadDeadline(time.Now().Add(pipeTime)); err != nil {
			return nil, tokenFileError("cannot be read", err)
		}
	}
	t, err := readTokens(f)
	if err != nil {
		return nil, err
	}
	// Windows has no such bits; Go makes them up there.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0 {
		t.Warnings = append(t.Warnings, "every user of this machine can read the token file; run: chmod 600 on it")
	}
	return t, nil
}

func readTokens(r io.Reader) (*Tokens, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxTokenFile+1))
	if err != nil {
		return nil, tokenFileError("cannot be read", err)
	}
	if len(data) > maxTokenFile {
		return nil, tokenFileError(fmt.Sprintf("is over %d bytes", maxTokenFile), nil)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	t := &Tokens{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxTokenFile+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		wrong, weak := t.add(line)
		if wrong != "" {
			return nil, tokenFileError(fmt.Sprintf("line %d: %s", n, wrong), nil)
		}
		if weak {
			t.Warnings = append(t.Warnings, fmt.Sprintf("the token on line %d is shorter than 16 characters and can be guessed", n))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, tokenFileError("cannot be read", err)
	}
	if len(t.entries) == 0 {
		return nil, tokenFileError("has no token", nil)
	}
	return t, nil
}

func tokenFileError(detail string, err error) error {
	return &morningai.Error{Code: morningai.CodeInvalidInput, Op: "read tokens", Detail: "the token file " + detail,
		Hint: "its lines are: SCOPE TOKEN [NAME], with the scope read, submit or admin", Err: err}
}

// add reads one line and returns what is wrong with it, or whether its token is
// short.
func (t *Tokens) add(line string) (wrong string, weak bool) {
	words := strings.Fields(line)
	if len(words) < 2 || len(words) > 3 {
		return "there must be a scope, a token and perhaps a name", false
	}
	scope := Scope(max(0, slices.Index(scopeNames, words[0])))
	if scope == scopeOpen {
		return "the scope must be read, submit or admin", false
	}
	if i := strings.IndexFunc(words[1], func(c rune) bool { return c < '!' || c > '~' }); i >= 0 {
		return "the token must consist of visible ASCII characters", false
	}
	entry := token{digest: sha256.Sum256([]byte(words[1])), scope: scope}
	entry.name = "sha256:" + hex.EncodeToString(entry.digest[:8])
	if len(words) == 3 {
		if entry.name = words[2]; !morningai.ValidName(entry.name) {
			return "the name " + morningai.NameRule, false
		}
	}
	if slices.ContainsFunc(t.entries, func(o token) bool { return o.digest == entry.digest }) {
		return "the same token stands on an earlier line", false
	}
	t.entries = append(t.entries, entry)
	return "", len(words[1]) < 16
}

// find compares digests, all of them and each in constant time, so that time
// tells nothing about any token.
func (t *Tokens) find(presented string) (token, bool) {
	digest := sha256.Sum256([]byte(presented))
	t.mu.RLock()
	entries := t.entries // replaced as a whole
	t.mu.RUnlock()
	found := -1
	for i := range entries {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], entries[i].digest[:]), i, found)
	}
	if found < 0 {
		return token{}, false
	}
	return entries[found], true
}

// Reload reads the file again and takes its tokens in place of those before. After
// an error they stay as they are. It returns what is unwise about the file.
func (t *Tokens) Reload(path string) (warnings []string, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, tokenFileError("is no file that can be read again", nil)
	}
	next, err := LoadTokens(path)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = next.entries
	return next.Warnings, nil
}

// CheckListen decides whether a server may listen at an address such as
// 127.0.0.1:8080: without tokens only on loopback, unless the operator insists.
func CheckListen(address string, tokens *Tokens, insecure bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return &morningai.Error{Code: morningai.CodeInvalidInput, Op: "listen",
			Detail: "the address must be HOST:PORT, such as 127.0.0.1:8080"}
	}
	if tokens != nil || insecure || isLoopback(host) {
		return nil
	}
	return &morningai.Error{Code: codeForbidden, Op: "listen",
		Detail: "without tokens the server listens on loopback addresses only",
		Hint:   "give --token-file, or listen on 127.0.0.1; --insecure lets everyone in who can reach the address"}
}

// isLoopback takes a host without its port. Of names only localhost counts:
// what others stand for can change.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && ip.Unmap().IsLoopback()
}
