"""One folder of files that says what a cloud shall be: hosts, pools, roles, apps. Read, compared, carried out, written."""
