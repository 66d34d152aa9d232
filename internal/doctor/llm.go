package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	llmTime = 5 * time.Second
	llmMost = 1 << 20 // bytes of an answer that are read
)

// lookAtLLM asks an endpoint that speaks like OpenAI's API for its models: the least
// that shows that address, key and protocol are right, and costs no tokens.
func (d *doctor) lookAtLLM(ctx context.Context) {
	if d.LLM == "" {
		d.skip("no LLM endpoint is set (OPENAI_BASE_URL)", llmReachable)
		return
	}
	u, err := url.Parse(d.LLM)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		d.wrong(llmReachable, "the address of the LLM endpoint is not one of HTTP", "", "OPENAI_BASE_URL=https://HOST/v1 morningai doctor")
		return
	}
	shown := u.Scheme + "://" + u.Host + u.EscapedPath() // no user, no query: they may be secrets
	ask := u.JoinPath("models")
	ctx, cancel := context.WithTimeout(ctx, llmTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ask.String(), nil)
	if err != nil {
		d.wrong(llmReachable, "the address of the LLM endpoint cannot be asked", "", "OPENAI_BASE_URL=https://HOST/v1 morningai doctor")
		return
	}
	if d.LLMKey != "" {
		req.Header.Set("Authorization", "Bearer "+d.LLMKey)
	}
	// A connection of its own, and no redirect: the key is for this address only.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	c := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	began := time.Now()
	res, err := c.Do(req)
	if err != nil {
		d.wrong(llmReachable, shown+": "+unreachable(err), "tasks that ask the model wait, and fail when their attempts are used up", "curl -sS "+shown+"/models")
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, llmMost))
	curl := `curl -sS -H "Authorization: Bearer $OPENAI_API_KEY" ` + shown + "/models"
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	switch {
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		seen := fmt.Sprintf("%s refuses the key of OPENAI_API_KEY (%d)", shown, res.StatusCode)
		if d.LLMKey == "" {
			seen = fmt.Sprintf("%s wants a key (%d), and OPENAI_API_KEY is not set", shown, res.StatusCode)
		}
		d.wrong(llmReachable, seen, "every request to the model is refused", curl)
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
		d.wrong(llmReachable, fmt.Sprintf("%s answers %d", shown, res.StatusCode), "the endpoint is there, and does not serve now", curl)
	case err != nil:
		d.wrong(llmReachable, shown+": "+unreachable(err), "the endpoint does not answer in full", curl)
	case res.StatusCode != http.StatusOK || json.Unmarshal(body, &list) != nil || list.Data == nil:
		d.wrong(llmReachable, fmt.Sprintf("%s/models answers %d, and not with a list of models", shown, res.StatusCode),
			"something else listens there, or the path is wrong: it mostly ends with /v1", curl)
	default:
		d.ok(llmReachable, fmt.Sprintf("%s, %d models, %v", shown, len(list.Data), time.Since(began).Round(time.Millisecond)))
	}
}

// unreachable says why nobody was reached, without the address that was asked.
func unreachable(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return "the name has no address in the network (" + e.Err + ")"
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate is not trusted (" + e.Err.Error() + ")"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %v", llmTime)
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}
