package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
	"github.com/surgegate/surgegate/pkg/credstore/postgres/postgrestest"
)

// certificate signs itself for 127.0.0.1.
func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "database"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// verify-full takes the server whose certificate is known, and no other.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	other, _ := certificate(t)
	server := ownServer(t, postgrestest.Config{
		Settings: map[string]string{"ssl": "on"}, Files: map[string][]byte{"server.crt": cert, "server.key": key},
	})
	w := newWorld(t, server, plainSchema, plainGrants)
	w.users(1)
	dir := t.TempDir()
	c := w.config()
	c.PasswordFile = filepath.Join(dir, "password")
	for name, content := range map[string][]byte{c.PasswordFile: []byte("role's"), filepath.Join(dir, "good"): cert, filepath.Join(dir, "other"): other} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	url := strings.Replace(server.URL(w.role, "postgres"), "sslmode=disable", "sslmode=verify-full&sslrootcert="+dir+"/", 1)
	c.URL = url + "other"
	if _, err := postgres.New(t.Context(), c, postgres.Deps{}); !errors.Is(err, credstore.ErrConfig) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("another's certificate: %v", err)
	}
	c.URL = url + "good"
	got, err := w.open(c).SetPasswords(t.Context(), changes(1, "a0"))
	wantOutcomes(t, got, err, credstore.Applied)
	if used := w.text("SELECT bool_and(ssl)::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = $1", w.role); used != "true" {
		t.Error("the connection is not encrypted")
	}
}
