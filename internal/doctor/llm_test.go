package doctor

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// An LLM endpoint that cannot be used is found, each fault by a server that has it; its
// key is told to nobody, and sent to nobody else.
func TestLLMEndpoint(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed, with the key %q", r.Header.Get("Authorization"))
	}))
	t.Cleanup(elsewhere.Close)
	models := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer "+secret:
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/v1/models":
			fmt.Fprint(w, `{"object":"list","data":[{"id":"small"},{"id":"large"}]}`)
		default:
			http.NotFound(w, r)
		}
	}
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "500")
		fmt.Fprint(w, `{"data":[`)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + closed.Addr().String() + "/v1"
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		url, key string
		serve    http.HandlerFunc
		tls      bool
		says     []string // none: all is well
	}{
		"well":          {serve: models, url: "/v1", key: secret},
		"well, a slash": {serve: models, url: "/v1/", key: secret},
		"no key":        {serve: models, url: "/v1", says: []string{"wants a key (401)", "OPENAI_API_KEY is not set", "curl"}},
		"wrong key":     {serve: models, url: "/v1", key: secret + "x", says: []string{"refuses the key"}},
		"wrong path":    {serve: models, url: "", key: secret, says: []string{"answers 404", "/v1"}},
		"a web page":    {serve: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, url: "/v1", key: secret, says: []string{"not with a list of models"}},
		"other JSON":    {serve: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, url: "/v1", key: secret, says: []string{"not with a list of models"}},
		"moved":         {serve: http.RedirectHandler(elsewhere.URL, http.StatusFound).ServeHTTP, url: "/v1", key: secret, says: []string{"answers 302"}},
		"busy":          {serve: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, url: "/v1", key: secret, says: []string{"answers 503", "does not serve now"}},
		"cut off":       {serve: cut, url: "/v1", key: secret, says: []string{"does not answer in full"}},
		"not trusted":   {serve: models, tls: true, url: "/v1", key: secret, says: []string{"certificate is not trusted"}},
		"nobody there":  {url: gone, key: secret, says: []string{"connection refused", gone}},
		"no such name":  {url: "http://nobody.invalid/v1", key: secret, says: []string{"no address in the network"}},
		"a password":    {url: strings.Replace(gone, "http://", "http://me:"+secret+"@", 1), key: secret, says: []string{"connection refused"}},
		"no address":    {url: "ftp://example.com", key: secret, says: []string{"not one of HTTP"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.serve != nil {
				web := httptest.NewUnstartedServer(c.serve)
				if c.tls {
					web.StartTLS()
				} else {
					web.Start()
				}
				t.Cleanup(web.Close)
				c.url = web.URL + c.url
			}
			o := at(t, "")
			o.LLM, o.LLMKey = c.url, c.key
			r := examine(t, o)
			if len(c.says) > 0 {
				found(t, r, llmReachable, c.says...)
			} else if f := finding(t, r, llmReachable); f.Status != StatusOK || !strings.Contains(f.Seen, "2 models") {
				t.Errorf("%+v", f)
			}
		})
	}
	if f := finding(t, examine(t, at(t, "")), llmReachable); f.Status != StatusSkipped {
		t.Errorf("without an endpoint: %+v", f)
	}
}
