// Says of each case on standard input which proxy Go's own golang.org/x/net/http/httpproxy would
// use, for tests/it/proxies.rs. A case is one line of JSON: {"variables": {NAME: VALUE}, "url": URL}.
// The answer is one line: "direct", "unusable", or SCHEME HOST PORT.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

type question struct {
	Variables map[string]string `json:"variables"`
	URL       string            `json:"url"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		fmt.Fprintln(out, answer(asked))
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
}

func answer(asked question) string {
	os.Clearenv()
	for name, value := range asked.Variables {
		os.Setenv(name, value)
	}
	target, err := url.Parse(asked.URL)
	if err != nil {
		panic(err)
	}
	config := httpproxy.FromEnvironment()
	proxy, err := config.ProxyFunc()(target)
	switch {
	case err != nil:
		panic(err)
	case proxy == nil:
		return "direct"
	case isNonsense(config.HTTPSProxy, proxy):
		return "unusable"
	}
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	}
	return fmt.Sprintf("%s %s %s", proxy.Scheme, strings.ToLower(proxy.Hostname()), port)
}

// Whether a proxy is none that Go could connect to by HTTP: it speaks something else, or it is what
// became of an address that Go could not read and tried again with "http://" before it.
func isNonsense(value string, proxy *url.URL) bool {
	if proxy.Scheme != "http" && proxy.Scheme != "https" || proxy.Hostname() == "" {
		return true
	}
	asItIs, err := url.Parse(value)
	return strings.Contains(value, "://") && (err != nil || asItIs.Scheme == "" || asItIs.Host == "")
}
