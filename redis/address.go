package redis

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// address is where Redis is and how to get in. It is never printed: it holds
// the password.
type address struct {
	mode      mode
	secure    bool
	hosts     []string
	master    string
	user      string
	password  string
	db        int
	name      string
	prefix    string
	parts     int
	ca        string
	cert, key string
	sentinelUser,
	sentinelPassword string
}

type mode string

const (
	modeSingle   mode = "single"
	modeUnix     mode = "unix"
	modeSentinel mode = "sentinel"
	modeCluster  mode = "cluster"
)

var schemes = map[string]struct {
	mode   mode
	secure bool
}{
	"redis": {modeSingle, false}, "rediss": {modeSingle, true}, "unix": {modeUnix, false},
	"redis+sentinel": {modeSentinel, false}, "rediss+sentinel": {modeSentinel, true},
	"redis+cluster": {modeCluster, false}, "rediss+cluster": {modeCluster, true},
}

const badDatabase = "the database in the address of Redis must be a number, and 0 on a Cluster"

// badAddress never repeats the address, which may hold a password.
func badAddress(message string) error {
	return &morningai.Error{Code: morningai.CodeInvalidInput, Op: "redis address", Detail: message,
		Hint: "use a form such as redis://host:6379/0, rediss://, unix:///path, redis+sentinel://h1,h2/master/0 or redis+cluster://h1,h2"}
}

func parseAddress(text string) (*address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	kind, known := schemes[scheme]
	if !ok || !known {
		return nil, badAddress("the address of Redis has no known scheme")
	}
	a := &address{mode: kind.mode, secure: kind.secure}
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(query, "@") { // of a password, which may be anything
		return nil, badAddress("user and password in the address of Redis must be percent-encoded: a ? in them is %3F; an @ in a setting is %40")
	}
	settings, err := url.ParseQuery(query)
	if err != nil {
		return nil, badAddress("the settings after ? in the address of Redis cannot be read")
	}
	if err := a.settings(settings); err != nil {
		return nil, err
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		user, password, _ := strings.Cut(rest[:at], ":")
		if a.user, err = url.PathUnescape(user); err == nil {
			a.password, err = url.PathUnescape(password)
		}
		if err != nil {
			return nil, badAddress("user and password in the address of Redis must be percent-encoded: a % in them is %25")
		}
		rest = rest[at+1:]
	}
	if !a.secure && a.ca+a.cert+a.key != "" {
		return nil, badAddress("ca, cert and key are for encrypted connections: rediss://, rediss+sentinel:// or rediss+cluster://")
	}
	if a.mode != modeSentinel && a.sentinelUser+a.sentinelPassword != "" {
		return nil, badAddress("sentinel_user and sentinel_password are for addresses with sentinels")
	}
	if (a.cert == "") != (a.key == "") {
		return nil, badAddress("a client certificate needs both cert and key")
	}
	if a.mode == modeUnix {
		if rest == "" {
			return nil, badAddress("a unix address needs the path of the socket")
		}
		a.hosts = []string{rest}
		return a, nil
	}
	return a, a.network(rest)
}

// network reads hosts and path.
func (a *address) network(rest string) error {
	list, path, _ := strings.Cut(rest, "/")
	port := "6379"
	if a.mode == modeSentinel {
		port = "26379"
	}
	for host := range strings.SplitSeq(list, ",") {
		h, p, err := net.SplitHostPort(host)
		if err != nil {
			h, p = strings.Trim(host, "[]"), port
		}
		if n, err := strconv.Atoi(p); h == "" || err != nil || n < 1 || n > 65535 {
			return badAddress("a host or port in the address of Redis is wrong")
		}
		a.hosts = append(a.hosts, net.JoinHostPort(h, p))
	}
	if a.mode == modeSingle && len(a.hosts) > 1 {
		return badAddress("several hosts need redis+sentinel:// or redis+cluster://")
	}
	if a.mode == modeSentinel {
		a.master, path, _ = strings.Cut(path, "/")
		if a.master == "" {
			return badAddress("a Sentinel address needs the name of the master after the hosts")
		}
	}
	if path != "" {
		n, err := strconv.Atoi(path)
		if err != nil || n < 0 || a.mode == modeCluster && n != 0 {
			return badAddress(badDatabase)
		}
		a.db = n
	}
	return nil
}

func (a *address) settings(q url.Values) error {
	for name, values := range q {
		v := values[len(values)-1]
		var err error
		switch name {
		case "client_name":
			a.name = v
		case "prefix":
			if !morningai.ValidName(v) {
				return badAddress("prefix " + morningai.NameRule)
			}
			a.prefix = v
		case "partitions":
			a.parts, err = strconv.Atoi(v)
			if err == nil && (a.parts < 1 || a.parts > 256) {
				return badAddress("partitions must be 1 to 256")
			}
		case "db":
			a.db, err = strconv.Atoi(v)
			if err == nil && (a.db < 0 || a.mode == modeCluster && a.db != 0) {
				return badAddress(badDatabase)
			}
		case "ca":
			a.ca = v
		case "cert":
			a.cert = v
		case "key":
			a.key = v
		case "sentinel_user":
			a.sentinelUser = v
		case "sentinel_password":
			a.sentinelPassword = v
		default:
			return badAddress("the address of Redis has an unknown setting; known are client_name, prefix, partitions, db, ca, cert, key, sentinel_user, sentinel_password")
		}
		if err != nil {
			return badAddress("a setting in the address of Redis must be a number")
		}
	}
	return nil
}

// apply carries what the address says over the options.
func (a *address) apply(o *options) {
	if a.name != "" {
		o.clientName = a.name
	}
	if a.prefix != "" {
		o.prefix = a.prefix
	}
	if a.parts != 0 {
		o.partitions = a.parts
	}
}

// dialTimeout bounds the making of a connection: short against what a call may
// take, so that one which hangs does not outlast the outage.
func (o *options) dialTimeout() time.Duration {
	return min(time.Second, max(o.timeout/6, min(o.timeout, 250*time.Millisecond)))
}

// silence is how long a connection may leave everything unanswered.
func (o *options) silence() time.Duration {
	return max(o.timeout/2, min(o.timeout, 300*time.Millisecond))
}

func (a *address) clientOption(o *options, l *link) (rueidis.ClientOption, error) {
	out := rueidis.ClientOption{
		InitAddress: a.hosts, Username: a.user, Password: a.password, SelectDB: a.db, ClientName: o.clientName,
		DisableCache: true, DisableRetry: true, AlwaysPipelining: true, ClientSetInfo: rueidis.DisableClientSetInfo,
		Dialer:           net.Dialer{Timeout: o.dialTimeout(), KeepAlive: 5 * time.Second},
		ConnWriteTimeout: o.silence(), DialCtxFn: l.dial,
	}
	if a.secure {
		config, err := a.tls()
		if err != nil {
			return out, err
		}
		out.TLSConfig = config
	}
	switch a.mode {
	case modeSingle, modeUnix:
		out.ForceSingleClient = true
	case modeSentinel:
		out.Sentinel = rueidis.SentinelOption{Dialer: out.Dialer, TLSConfig: out.TLSConfig, MasterSet: a.master,
			Username: a.sentinelUser, Password: a.sentinelPassword, ClientName: o.clientName}
	case modeCluster:
		out.ShuffleInit = true
	}
	return out, nil
}

func (a *address) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12} // the name is that of each host dialed
	if a.ca != "" {
		pem, err := os.ReadFile(a.ca)
		if err != nil {
			return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: "redis address", Detail: "the file named by ca cannot be read", Err: err}
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: "redis address", Detail: "the file named by ca holds no certificate",
				Hint: "give the certificates of the authorities in PEM form"}
		}
	}
	if a.cert != "" {
		pair, err := tls.LoadX509KeyPair(a.cert, a.key)
		if err != nil {
			return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: "redis address", Detail: "the client certificate named by cert and key cannot be used", Err: err}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
