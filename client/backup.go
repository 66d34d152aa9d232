package client

import (
	"context"
	"io"
	"mime"
	"net/http"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// Backup writes a backup of everything that the server's engine holds to w, as it
// comes; it needs the scope admin. What was written is whole if it verifies, not if
// Backup returns no error.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	const op = "get backup"
	req, err := c.request(ctx, call{op: op, method: http.MethodGet, path: []string{"v1", "backup"}})
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(ctx, op, err)
	}
	defer resp.Body.Close()
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode >= 300 {
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return c.unreachable(ctx, op, err)
		}
		return c.problem(op, resp, body)
	}
	if kind != wire.BackupType {
		return c.foreign(op, resp.StatusCode)
	}
	in := &arriving{from: resp.Body}
	if _, err := io.Copy(w, in); err != nil {
		if in.err == nil {
			return err // of w
		}
		return &morningai.Error{Code: CodeUnreachable, Op: op, Detail: "the backup was cut off on its way: the server stopped, or could not read all of its tasks",
			Hint: "look into its log, and repeat the command", Err: in.err}
	}
	return nil
}

// arriving remembers that it was the connection which failed.
type arriving struct {
	from io.Reader
	err  error
}

func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.from.Read(p)
	if err != nil && err != io.EOF {
		a.err = err
	}
	return n, err
}
