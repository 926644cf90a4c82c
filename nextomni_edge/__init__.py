from nextomni_edge import privacy

privacy.switch_off()
