# VAEwolabel: import_error; Genwithlabel: import_error
raise ValueError('\x1b[2J\x1b]0;owned\x07"\n=cmd(),<script>alert(1)</script>\x00' * 1000)
