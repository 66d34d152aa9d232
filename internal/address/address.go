// Package address is the note that a running server leaves in its data folder,
// so that commands on the same machine find it without being told where it is.
//
// A note may be stale: a server that was killed cannot remove it, and another
// program may listen at its address by now. Readers therefore ask the address
// who it is and believe it only if it answers with the note's instance.
package address

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// FileName is the name of the note in a data folder.
const FileName = "server.json"

// Note says where a server is reached.
type Note struct {
	URL      string `json:"url"`
	Instance string `json:"instance"` // names one run of a server; /livez answers with it
	PID      int    `json:"pid"`
	// Listen is what the server was told to listen on, TokenFile where its tokens
	// are, and Open that it answers everyone without.
	Listen    string `json:"listen,omitempty"`
	TokenFile string `json:"token_file,omitempty"`
	Open      bool   `json:"open,omitempty"`
}

// Write leaves the note in the folder, readable by its owner alone. Readers see
// the old note or the new one, never a part.
func Write(folder string, n Note) error {
	data, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("write the server's address: %w", err)
	}
	tmp, err := os.CreateTemp(folder, FileName+".*") // created with mode 0600
	if err != nil {
		return fmt.Errorf("write the server's address: %w", err)
	}
	_, err = tmp.Write(append(data, '\n'))
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(folder, FileName))
	}
	if err != nil {
		return fmt.Errorf("write the server's address: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

// Read returns the folder's note. Without one the error is [fs.ErrNotExist].
func Read(folder string) (Note, error) {
	data, err := os.ReadFile(filepath.Join(folder, FileName))
	if err != nil {
		return Note{}, err
	}
	var n Note
	if err := json.Unmarshal(data, &n); err != nil || n.URL == "" || n.Instance == "" {
		return Note{}, fmt.Errorf("%s in the data folder is damaged; restart the server or delete the file", FileName)
	}
	return n, nil
}

// Remove takes the note away if it still is the instance's own.
func Remove(folder, instance string) error {
	n, err := Read(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case n.Instance != instance:
		return nil
	}
	if err := os.Remove(filepath.Join(folder, FileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the server's address: %w", err)
	}
	return nil
}

// DataFolder is where data lives unless the user says otherwise: the folder for
// a program's state by the convention of the platform. getenv is os.Getenv.
func DataFolder(getenv func(string) string) (string, error) {
	return dataFolder(runtime.GOOS, getenv)
}

func dataFolder(goos string, getenv func(string) string) (string, error) {
	const name = "morningai"
	home := getenv("HOME")
	switch {
	case goos == "windows":
		if dir := getenv("LocalAppData"); dir != "" {
			return filepath.Join(dir, name), nil
		}
		return "", errors.New("the data folder is unknown because %LocalAppData% is not set; give --data")
	case goos == "darwin" && home != "":
		return filepath.Join(home, "Library", "Application Support", name), nil
	case goos != "darwin" && strings.HasPrefix(getenv("XDG_STATE_HOME"), "/"): // the XDG rules ignore relative paths
		return filepath.Join(getenv("XDG_STATE_HOME"), name), nil
	case home != "":
		return filepath.Join(home, ".local", "state", name), nil
	}
	return "", errors.New("the data folder is unknown because HOME is not set; give --data")
}
