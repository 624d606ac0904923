package token

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/surgegate/surgegate/pkg/keyfile"
)

// load reads all keys in the folder.
func (k *Keys) load() (*keySet, error) {
	set := &keySet{byID: make(map[keyID]*key)}
	// Private files come first: ID.key is written before ID.pub, and holds the public half too.
	for _, kind := range []struct {
		suffix string
		mode   fs.FileMode
		parse  func([]byte) (*key, error)
	}{{privateSuffix, keyfile.Private, parsePrivate}, {publicSuffix, keyfile.Public, parsePublic}} {
		names, err := keyfile.List(k.dir, kind.suffix)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			id, err := parseKeyID(strings.TrimSuffix(name, kind.suffix))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", filepath.Join(k.dir, name), err)
			}
			data, err := keyfile.Read(k.dir, name, kind.mode)
			if errors.Is(err, fs.ErrNotExist) {
				continue // another process has deleted it since List
			}
			if err != nil {
				return nil, err
			}
			key, err := kind.parse(data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", filepath.Join(k.dir, name), err)
			}
			key.id = id
			if old := set.byID[id]; old != nil {
				if !old.public.Equal(key.public) {
					return nil, fmt.Errorf("%s does not belong to the private key of the same id", filepath.Join(k.dir, name))
				}
				continue
			}
			set.add(key)
		}
	}
	return set, nil
}

func parsePrivate(data []byte) (*key, error) {
	_, der, err := keyfile.DecodePEM(privatePEM, data)
	if err != nil {
		return nil, err
	}
	p, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("not a PKCS #8 private key") // err might quote the key
	}
	private, ok := p.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("not an Ed25519 key")
	}
	public, _ := private.Public().(ed25519.PublicKey)
	return &key{private: private, public: public}, nil
}

func parsePublic(data []byte) (*key, error) {
	_, der, err := keyfile.DecodePEM(publicPEM, data)
	if err != nil {
		return nil, err
	}
	p, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	public, ok := p.(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("not an Ed25519 key")
	}
	return &key{public: public}, nil
}

// write makes the files of a key that are missing. Another process may make them at the same time.
func (k *Keys) write(key *key) error {
	for _, f := range []struct {
		suffix, pem string
		mode        fs.FileMode
		der         func() ([]byte, error)
	}{
		{privateSuffix, privatePEM, keyfile.Private, func() ([]byte, error) {
			if key.private == nil {
				return nil, nil
			}
			return x509.MarshalPKCS8PrivateKey(key.private)
		}},
		{publicSuffix, publicPEM, keyfile.Public, func() ([]byte, error) { return x509.MarshalPKIXPublicKey(key.public) }},
	} {
		if exists, err := keyfile.Exists(k.dir, key.id.String()+f.suffix); exists || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		der, err := f.der()
		if err != nil {
			return err
		}
		if der == nil {
			continue
		}
		err = keyfile.New(k.dir, key.id.String()+f.suffix, keyfile.EncodePEM(f.pem, nil, der), f.mode)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
