// Package story has what both programs print, and wait for.
package story

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"
)

// The server's ports, the second with TLS and users.
var (
	Port    = os.Getenv("PORT")
	TLSPort = os.Getenv("TLS_PORT")
)

// Say prints one line of the story.
func Say(words ...any) {
	fmt.Println(append([]any{"-"}, words...)...)
}

// Check ends the program with an error, if it is one.
func Check(err error) {
	if err != nil {
		panic(err)
	}
}

// Shown is an event's name and data as the lines have them.
func Shown[T any](fields map[string]T) string {
	var shown []string
	for name, data := range fields {
		shown = append(shown, fmt.Sprintf("%s=%v", name, data))
	}
	return strings.Join(shown, " ")
}

// Outage tells that the server may stop, waits until it did, and comes back once ask works again.
func Outage(ask func() error) {
	Say("ready for an outage")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	Check(err)
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if ask() == nil {
			Say("reconnected")
			return
		}
	}
}

// Trusted is what it takes to believe the server with TLS.
func Trusted() *tls.Config {
	authority, err := os.ReadFile(os.Getenv("CA"))
	Check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	return &tls.Config{RootCAs: pool}
}
