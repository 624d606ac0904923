package edge

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/surgegate/surgegate/pkg/clock"
)

// tlsConfig returns the TLS configuration of a server: TLS 1.3, or 1.2 with the cipher suites that Go considers secure. Certificates
// are reloaded when their files change; fail is called when that does not work. With needsClientCert every client must present a
// certificate.
func tlsConfig(t TLS, needsClientCert bool, c clock.Clock, protocols []string, fail func(error)) (*tls.Config, error) {
	files := []string{t.CertFile, t.KeyFile}
	if t.ClientCAFile != "" {
		files = append(files, t.ClientCAFile)
	}
	r := &reloadable[*tls.Config]{files: files, clock: c, fail: fail}
	r.parse = func(pem [][]byte) (*tls.Config, error) {
		cert, err := tls.X509KeyPair(pem[0], pem[1])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.CertFile, err)
		}
		cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: protocols}
		if len(pem) > 2 {
			cfg.ClientCAs = x509.NewCertPool()
			if !cfg.ClientCAs.AppendCertsFromPEM(pem[2]) {
				return nil, fmt.Errorf("%s: holds no certificate", t.ClientCAFile)
			}
			cfg.ClientAuth = tls.VerifyClientCertIfGiven
			if needsClientCert {
				cfg.ClientAuth = tls.RequireAndVerifyClientCert
			}
		}
		return cfg, nil
	}
	if err := r.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return r.current(), nil
		},
	}, nil
}
