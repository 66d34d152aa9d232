//go:build unix

package httpapi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/RC918/morningai"
)

// A pipe may be the token file, as the shell's <(command) is; one that nobody
// writes to, and a device, are refused instead of waited for.
func TestLoadTokensFromPipesAndDevices(t *testing.T) {
	refused := func(path, says string) {
		t.Helper()
		_, err := LoadTokens(path)
		if morningai.CodeOf(err) != morningai.CodeInvalidInput || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want one that says %q", path, err, says)
		}
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(fifo, "no token")
	refused("/dev/zero", "neither a file nor a pipe")

	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if _, err := writer.WriteString("read TOKEN-0123456789abcdef one\n"); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	tokens, err := LoadTokens(fmt.Sprintf("/dev/fd/%d", reader.Fd()))
	if err != nil || len(tokens.entries) != 1 || tokens.entries[0].name != "one" {
		t.Errorf("from a pipe: %+v, %v", tokens, err)
	}
}
