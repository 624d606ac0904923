package model

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
)

// Load reads a scenario from a file of strict YAML. Its fields are those of Scenario; `like: NAME` begins with a scenario
// that ships. Errors name file and line.
//
//	like: blast-1h
//	name: ours
//	people: 2_000_000
//	mailing: 3h
//	faults: ["store-dark at 20m for 5m"]
func Load(path string) (Scenario, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Scenario{}, fmt.Errorf("model: %w", err)
	}
	return parse(path, data)
}

func parse(path string, data []byte) (Scenario, error) {
	var file struct {
		Like     string `yaml:"like"`
		Scenario `yaml:",inline"`
	}
	var like struct {
		Like string `yaml:"like"`
	}
	if err := yaml.Unmarshal(data, &like); err != nil {
		return Scenario{}, located(path, err)
	}
	if like.Like != "" {
		var err error
		if file.Scenario, err = ByName(like.Like); err != nil {
			return Scenario{}, fmt.Errorf("%s: like: %w", path, err)
		}
	}
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&file); err != nil {
		return Scenario{}, located(path, err)
	}
	s := file.WithDefaults()
	if s.Name == "" {
		s.Name = path
	}
	if err := s.Validate(); err != nil {
		return Scenario{}, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// located says where in the file an error is.
func located(path string, err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return fmt.Errorf("%s:%d: %s", path, at.GetToken().Position.Line, at.GetMessage())
	}
	return fmt.Errorf("%s: %w", path, err)
}
