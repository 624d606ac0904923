// Package kubecheck holds the test of deploy/kubernetes. It is a module of its own, because only the test needs Kubernetes's types.
package kubecheck
