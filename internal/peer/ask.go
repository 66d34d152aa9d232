package peer

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
)

// askTime bounds the question to another server: whoever asks for the task waits
// too.
const askTime = 500 * time.Millisecond

// Asker asks other servers what they have accepted.
type Asker struct {
	token string
	http  *http.Client
}

// NewAsker returns an asker that sends the token, if there is one.
func NewAsker(token string) *Asker {
	return &Asker{token: token, http: &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: askTime}).DialContext,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Ask returns the task as the server at url itself knows it, without asking
// anybody else. A morningai.ErrNotFound is that server's word that it has not
// accepted the task; any other error leaves it open. It takes half a second at
// most.
func (a *Asker) Ask(ctx context.Context, url string, id morningai.ID) (morningai.Task, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c, err := client.New(url, client.WithToken(a.token), client.WithHTTPClient(a.http))
	if err != nil {
		return morningai.Task{}, err
	}
	task, err := c.GetHere(ctx, id)
	if err != nil {
		return morningai.Task{}, err
	}
	return *task, nil
}

// Close releases connections.
func (a *Asker) Close() { a.http.CloseIdleConnections() }
