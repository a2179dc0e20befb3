from tslc.cli.main import main

main()
