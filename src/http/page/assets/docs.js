// The API document works without this; with it entries can be searched, and an address with an
// operation's name opens it.
const box = document.querySelector('#search')
const input = box.querySelector('input')
const count = box.querySelector('output')
const entries = [...document.querySelectorAll('[data-words]')]
const contents = document.querySelector('.contents details')
// As it was before something was sought; until it is not any more.
let wasOpen = null
const groups = [...document.querySelectorAll('[data-group]')]

function search() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean)
  for (const entry of entries) {
    entry.hidden = !words.every((word) => entry.dataset.words.includes(word))
  }
  for (const group of groups) {
    group.hidden = !group.querySelector('[data-words]:not([hidden])')
  }
  const found = document.querySelectorAll('details.entry[data-words]:not([hidden])').length
  count.textContent = words.length ? `${found}${count.dataset.found}` : ''
  if (words.length) {
    wasOpen ??= contents.open
    contents.open = true
  } else if (wasOpen !== null) {
    contents.open = wasOpen
    wasOpen = null
  }
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)))
  if (!target) return
  if (target.hidden) {
    input.value = ''
    search()
  }
  if (target.matches('details')) target.open = true
  target.scrollIntoView()
}

box.hidden = false
input.addEventListener('input', search)
addEventListener('hashchange', openTarget)
addEventListener('keydown', (event) => {
  const isTyping = document.activeElement instanceof HTMLInputElement
  if (event.key === '/' && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault()
    input.focus()
  }
})
if (matchMedia('(min-width: 960px)').matches) contents.open = true
if (location.hash) openTarget()
