package address

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// Fingerprint tells whether a folder is the one that a server uses, without
// giving the folder away: both compute it, for one run of the server on one
// machine, and compare.
func Fingerprint(instance, folder string) (string, error) {
	abs, err := filepath.Abs(folder)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fmt.Errorf("name the folder: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name the folder: %w", err)
	}
	sum := sha256.Sum256([]byte(instance + "\x00" + host + "\x00" + abs))
	return hex.EncodeToString(sum[:16]), nil
}
