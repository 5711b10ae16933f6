# VAEwolabel: import_error; Genwithlabel: import_error
import a_module_that_does_not_exist
