package httpapi

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/RC918/morningai"
)

const (
	readToken   = "read-0123456789abcdef"
	submitToken = "submit-0123456789abcdef"
	adminToken  = "admin-0123456789abcdef"
)

func tokenFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return path
}

func TestLoadTokens(t *testing.T) {
	tokens, err := LoadTokens(tokenFile(t, "\ufeff# callers\r\n\r\nread "+readToken+"\r\n  submit\t"+submitToken+"  ci \nadmin "+adminToken+" ops", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for presented, want := range map[string]token{
		submitToken: {name: "ci", scope: ScopeSubmit}, adminToken: {name: "ops", scope: ScopeAdmin}, readToken: {scope: ScopeRead},
	} {
		got, ok := tokens.find(presented)
		if !ok || got.scope != want.scope || want.name != "" && got.name != want.name || got.name == "" {
			t.Errorf("found %v as scope %v, name %q", ok, got.scope, got.name)
		}
	}
	for _, stranger := range []string{"", "ci", readToken + " ", readToken[1:], strings.ToUpper(readToken)} {
		if _, ok := tokens.find(stranger); ok {
			t.Error("a stranger was let in")
		}
	}
	if len(tokens.Warnings) > 0 {
		t.Errorf("warnings: %q", tokens.Warnings)
	}
	for _, secret := range []string{readToken, submitToken, adminToken} {
		if strings.Contains(fmt.Sprintf("%+v %#v", tokens, tokens), secret) {
			t.Error("a token can be printed")
		}
	}
}

func TestLoadTokensWarns(t *testing.T) {
	tokens, err := LoadTokens(tokenFile(t, "admin short boss\n", 0o644))
	if err != nil {
		t.Fatal(err)
	}
	want := 2
	if runtime.GOOS == "windows" {
		want = 1 // no permission bits there
	}
	said := strings.Join(tokens.Warnings, " ")
	if len(tokens.Warnings) != want || !strings.Contains(said, "line 1") {
		t.Errorf("warnings: %q", tokens.Warnings)
	}
	// Not even a part of its digest: a short token is found from that.
	nameless, err := LoadTokens(tokenFile(t, "# mine\nadmin short\n", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if said := strings.Join(nameless.Warnings, " "); !strings.Contains(said, "line 2") || strings.Contains(said, "sha256") {
		t.Errorf("warnings: %q", nameless.Warnings)
	}
}

func TestLoadTokensRefuses(t *testing.T) {
	const secret = "SECRET-0123456789"
	for text, says := range map[string]string{
		"":                             "no token",
		"# only a comment\n":           "no token",
		"\n\nread\n":                   "line 3",
		"read " + secret + " a b\n":    "line 1",
		"write " + secret + "\n":       "line 1",
		"open " + secret + "\n":        "line 1",
		"Read " + secret + "\n":        "line 1",
		"read " + secret + "ü\n":       "line 1",
		"read " + secret + " na/me\n":  "line 1",
		secret + " read\n":             "line 1",
		strings.Repeat("read ", 1<<18): "over",
		"read " + secret + "\n# x\nadmin " + secret + "\n": "line 3",
	} {
		_, err := LoadTokens(tokenFile(t, text, 0o600))
		if morningai.CodeOf(err) != morningai.CodeInvalidInput || !strings.Contains(err.Error(), says) {
			t.Errorf("%.30q: %v, want one that says %q", text, err, says)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
	if _, err := LoadTokens(filepath.Join(t.TempDir(), "none")); morningai.CodeOf(err) != morningai.CodeInvalidInput {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := LoadTokens(t.TempDir()); morningai.CodeOf(err) != morningai.CodeInvalidInput {
		t.Errorf("a folder: %v", err)
	}
}

func TestCheckListen(t *testing.T) {
	tokens := &Tokens{}
	for address, loopback := range map[string]bool{
		"127.0.0.1:8080": true, "127.9.9.9:0": true, "[::1]:80": true, "localhost:80": true, "LocalHost:80": true, "[::ffff:127.0.0.1]:1": true,
		":8080": false, "0.0.0.0:80": false, "[::]:80": false, "192.168.1.2:80": false, "example.com:80": false, "localhost.example:1": false, "127.0.0.1.nip.io:80": false,
	} {
		if err := CheckListen(address, nil, false); (err == nil) != loopback {
			t.Errorf("%s without tokens: %v", address, err)
		}
		if err := CheckListen(address, tokens, false); err != nil {
			t.Errorf("%s with tokens: %v", address, err)
		}
		if err := CheckListen(address, nil, true); err != nil {
			t.Errorf("%s insecure: %v", address, err)
		}
	}
	if err := CheckListen("8080", tokens, true); morningai.CodeOf(err) != morningai.CodeInvalidInput {
		t.Errorf("no port: %v", err)
	}
}

func FuzzReadTokens(f *testing.F) {
	f.Add("read abc\nsubmit def name\n# x\n")
	f.Add("\ufeffadmin \x00")
	f.Add("read a\rread b")
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := readTokens(strings.NewReader(text))
		if (err == nil) == (tokens == nil) {
			t.Fatal("either tokens or an error")
		}
		if err != nil {
			return
		}
		for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
			words := strings.Fields(line)
			if len(words) == 0 || words[0][0] == '#' {
				continue
			}
			if got, ok := tokens.find(words[1]); !ok || got.scope.String() != words[0] {
				t.Errorf("line %q gives %v %v", line, ok, got.scope)
			}
		}
	})
}
