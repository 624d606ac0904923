//go:build !race

package pacelab

const underRace = false
