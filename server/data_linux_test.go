package server_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/server"
)

// /proc takes no files from anybody, not even from root.
func TestFolderThatCannotBeWrittenTo(t *testing.T) {
	for _, folder := range []string{"/proc", "/proc/morningai"} {
		c := config(t)
		c.Data = folder
		_, err := server.Open(t.Context(), c)
		e, ok := errors.AsType[*morningai.Error](err)
		if !ok || !strings.Contains(e.Detail, folder) || !strings.Contains(e.Hint, "--data") {
			t.Errorf("%s: %v", folder, err)
		}
	}
}
