module httpproxy

// scripts/install-httpproxy writes an older version here for a Go that does not know this form.
go 1.23.0

require golang.org/x/net v0.36.0

require golang.org/x/text v0.22.0 // indirect
