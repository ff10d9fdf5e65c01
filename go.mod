module github.com/pollbridge/pollbridge

go 1.26.0
